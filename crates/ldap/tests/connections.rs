//! What happens on the way to the directory: encryption, servers that are down, come back, or are not what they should be.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ldap::{Ldap, LdapConfig, LdapError};
use support::{directory, people};
use test_kit::certificate::Certificate;
use test_kit::{Slapd, free_port, temp_dir};

fn encrypted(slapd: &Slapd, start_tls: bool, ca: &Path) -> Ldap {
    directory(slapd, |config| {
        if !start_tls {
            config.url = slapd.tls_url();
        }
        config.start_tls = start_tls;
        config.ca = ca.to_owned();
    })
}

#[tokio::test]
async fn passwords_go_only_to_a_directory_whose_certificate_is_good() {
    let slapd = people();
    let folder = temp_dir();
    let (other, _) = Certificate::create_signed(folder.path(), "other");
    for start_tls in [false, true] {
        let ldap = encrypted(&slapd, start_tls, slapd.authority());
        assert!(ldap.sign_in("ann", "ann's secret").await.unwrap().is_some());
        assert!(ldap.sign_in("ann", "wrong").await.unwrap().is_none());
        assert!(ldap.check().await.unwrap().is_encrypted);
        // Another authority, and those of the system.
        for ca in [other.clone(), PathBuf::new()] {
            let error = encrypted(&slapd, start_tls, &ca).sign_in("ann", "ann's secret").await.unwrap_err();
            assert!(matches!(error, LdapError::Tls { .. }), "{error}");
            assert!(error.to_string().contains("auth.ldap.ca"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let slapd = people();
    let ldap = directory(&slapd, |config| {
        // The same server under a name that its certificate does not have.
        config.url = slapd.tls_url().replace("127.0.0.1", "127.0.0.2");
        config.ca = slapd.authority().to_owned();
    });
    // It listens on 127.0.0.1 alone, so somebody in between answers.
    let port: u16 = slapd.tls_url().rsplit(':').next().unwrap().parse().unwrap();
    let between = tokio::net::TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = between.accept().await {
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let error = ldap.sign_in("ann", "ann's secret").await.unwrap_err();
    assert!(matches!(error, LdapError::Tls { .. }), "{error}");
}

#[test]
fn a_file_without_authorities_is_refused() {
    let folder = temp_dir();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for ca in [empty, folder.path().join("none.pem")] {
        let url = "ldaps://ldap.example.org".into();
        let error =
            Ldap::new(LdapConfig { url, user_base: "dc=a".into(), ca, ..LdapConfig::default() }).unwrap_err();
        assert!(matches!(error, LdapError::Authorities { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_directory_that_is_down_is_told_and_used_again_when_it_is_back() {
    let mut slapd = people();
    let ldap = directory(&slapd, |_| {});
    assert!(ldap.sign_in("ann", "ann's secret").await.unwrap().is_some());
    // Restarted between two sign-ins: nobody notices.
    slapd.stop();
    slapd.start_again();
    assert!(ldap.sign_in("ann", "ann's secret").await.unwrap().is_some());
    slapd.stop();
    let error = ldap.sign_in("ann", "ann's secret").await.unwrap_err();
    assert!(matches!(error, LdapError::Connect { .. }), "{error}");
    assert!(!format!("{error} {error:?} {ldap:?}").contains("secret"), "{error:?} {ldap:?}");
    let error = ldap.look_up("ann").await.unwrap_err();
    assert!(matches!(error, LdapError::Connect { .. }), "{error}");
    slapd.start_again();
    assert!(ldap.sign_in("ann", "ann's secret").await.unwrap().is_some());
}

#[tokio::test]
async fn many_sign_in_at_once_over_few_connections() {
    let slapd = people();
    let ldap = std::sync::Arc::new(directory(&slapd, |config| config.connections = 2));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let ldap = std::sync::Arc::clone(&ldap);
            let password = if number % 2 == 0 { "ann's secret" } else { "wrong" };
            tokio::spawn(async move { (number, ldap.sign_in("ann", password).await) })
        })
        .collect();
    for task in tasks {
        let (number, person) = task.await.unwrap();
        assert_eq!(person.unwrap().is_some(), number % 2 == 0);
    }
}

/// A directory that never answers; the clock runs ahead whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn a_silent_directory_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    for url in [format!("ldap://{address}"), format!("ldaps://{address}")] {
        let ldap = Ldap::new(LdapConfig { url, user_base: "dc=a".into(), ..LdapConfig::default() }).unwrap();
        let error = ldap.sign_in("ann", "secret").await.unwrap_err();
        assert!(
            matches!(error, LdapError::Timeout { limit, .. } if limit == Duration::from_secs(5)),
            "{error}"
        );
    }
}

/// What a server of another kind, or an attacker, may answer: each is an error, and none ends the program.
#[tokio::test]
async fn answers_that_are_no_ldap_are_refused() {
    // An element in an element, twenty thousand deep.
    let mut deep = Vec::new();
    for _ in 0..20_000_u32 {
        let length = u32::try_from(deep.len()).unwrap().to_be_bytes();
        deep.splice(0..0, [&[0x30, 0x84], &length[..]].concat());
    }
    let bound = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
    let answers: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("zeros", &[0; 64]),
        ("nested", &deep),
        ("huge", b"\x30\x84\xff\xff\xff\xff\x02\x01\x01"),
        ("cut", b"\x30\x0c\x02\x01\x01\x65"),
        ("without end", b"\x30\x80\x02\x01\x01"),
        ("of another operation", bound),
        ("of another message", b"\x30\x0c\x02\x01\x09\x65\x07\x0a\x01\x00\x04\x00\x04\x00"),
        ("empty", b"\x30\x00"),
        ("an entry of nothing", b"\x30\x05\x02\x01\x01\x64\x00"),
        ("notice of disconnection", b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00"),
    ];
    for (what, answer) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let answer = answer.to_vec();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let read = stream.read(&mut [0; 1_024]).unwrap();
            assert_ne!(read, 0);
            // The client may hang up in the middle.
            drop(stream.write_all(&answer));
        });
        let ldap = Ldap::new(LdapConfig { url, user_base: "dc=a".into(), ..LdapConfig::default() }).unwrap();
        let error = ldap.look_up("ann").await.unwrap_err();
        assert!(matches!(error, LdapError::Protocol { .. } | LdapError::Broken { .. }), "{what}: {error}");
        server.join().unwrap();
    }
}

/// Whoever stands between can answer StartTLS in the clear, and must not get a password for it.
#[tokio::test]
async fn a_refused_start_tls_ends_the_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = vec![0; 1_024];
        let first = stream.read(&mut seen).unwrap();
        // Protocol error, as a directory without StartTLS says.
        stream.write_all(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00").unwrap();
        let rest = stream.read(&mut seen[first..]).unwrap();
        seen.truncate(first + rest);
        seen
    });
    let config = LdapConfig {
        url,
        start_tls: true,
        bind_dn: "cn=wharf".into(),
        bind_password: ldap::Secret::new("s3cret"),
        user_base: "dc=a".into(),
        ..LdapConfig::default()
    };
    let error = Ldap::new(config).unwrap().sign_in("ann", "ann's secret").await.unwrap_err();
    assert!(matches!(&error, LdapError::Tls { reason, .. } if reason.contains("StartTLS")), "{error}");
    let seen = server.join().unwrap();
    assert!(!seen.windows(6).any(|bytes| bytes == b"s3cret" || bytes == b"secret"));
}

#[tokio::test]
async fn nothing_at_the_address_is_told_at_once() {
    let url = format!("ldap://127.0.0.1:{}", free_port());
    let error = Ldap::new(LdapConfig { url, user_base: "dc=a".into(), ..LdapConfig::default() })
        .unwrap()
        .check()
        .await
        .unwrap_err();
    assert!(matches!(error, LdapError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("auth.ldap.url"), "{error}");
}

#[test]
fn a_network_without_encryption_is_refused() {
    let config = |url: &str, allow_plaintext| {
        let (url, user_base) = (url.into(), "dc=a".into());
        Ldap::new(LdapConfig { url, user_base, allow_plaintext, ..LdapConfig::default() })
    };
    assert!(matches!(config("ldap://192.0.2.1", false), Err(LdapError::Config { key: "url", .. })));
    assert!(config("ldap://192.0.2.1", true).is_ok());
}
