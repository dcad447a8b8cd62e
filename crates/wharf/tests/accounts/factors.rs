//! The second factor, from the command line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use test_kit::WharfServer;
use totp_rs::{Builder, Secret, Totp};

use crate::{Person, assert_says, server};

/// The code of so many steps from here. The server takes that of the next step, too, so that a test need not wait.
pub fn code(app: &Totp, steps: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    app.generate(now.as_secs() + 30 * steps).to_string()
}

/// Turns the second factor on as a person does: reads the address, and types the code in. Gives the recovery codes.
pub fn enable(person: &Person) -> (Totp, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wharf"))
        .args(["two-factor", "enable", &person.host])
        .env("HOME", person.home.path())
        .env("DOCKER_CONFIG", person.home.path().join(".docker"))
        .env_remove("REGISTRY_AUTH_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let (mut picture, mut line) = (0, String::new());
    let secret = loop {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0, "there is an address for an app");
        match line.split_once("?secret=").and_then(|(_, rest)| rest.split('&').next()) {
            Some(secret) if line.starts_with("otpauth://totp/") => break secret.to_owned(),
            _ => picture += 1,
        }
    };
    assert!(picture > 10, "there is a QR code");
    let secret = Secret::try_from_base32(&secret).unwrap();
    let app: Totp = Builder::new().with_secret(secret).build_noncompliant();
    writeln!(child.stdin.take().unwrap(), "{}", code(&app, 0)).unwrap();
    let rest = std::thread::spawn(move || std::io::read_to_string(told).unwrap());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", rest.join().unwrap());
    let codes = String::from_utf8(output.stdout).unwrap();
    (app, codes.lines().map(str::to_owned).collect())
}

/// A user who has signed in with a password of their own.
fn ann(server: &WharfServer, admin: &Person) -> (Person, String) {
    admin.says("user create HOST ann --no-password");
    let password = admin.says("user reset-password HOST ann");
    (Person::signed_in(server, "ann", &password), password)
}

#[test]
fn a_second_factor_is_turned_on_and_off() {
    let server = server();
    let admin = Person::admin(&server);
    let (ann, password) = ann(&server, &admin);
    assert_says(&ann.says("two-factor status HOST"), "on              no");
    let token = ann.says("token create HOST --label laptop");
    let (app, recovery) = enable(&ann);
    assert_eq!(recovery.len(), 10);

    assert_says(&ann.refused("whoami HOST"), "--otp CODE");
    assert_says(&ann.refused("two-factor enable HOST"), "--otp CODE");
    let used = code(&app, 1);
    assert_says(&ann.says(&format!("whoami HOST --otp {used}")), "ann (by password)");
    assert_says(&ann.refused(&format!("whoami HOST --otp {used}")), "has been used");
    let status = ann.says(&format!("two-factor status HOST --otp {}", recovery[0]));
    assert_says(&status, "recovery codes  9");

    // A token needs no code, and the password with a code is stored for the commands here.
    let laptop = Person::signed_in(&server, "ann", &token);
    assert_says(&laptop.says("whoami HOST"), "ann (by token)");
    assert_says(&laptop.refused("two-factor disable HOST"), "password");
    assert_says(&laptop.login("ann", &password).run_to_fail().stderr, "--otp CODE");
    let login = laptop.login("ann", &password).args(["--otp", &recovery[1]]).run();
    assert_says(&login.stdout, "personal access token");

    let renewed = laptop.says(&format!("two-factor recovery-codes HOST --otp {}", recovery[2]));
    assert_says(&laptop.refused(&format!("two-factor disable HOST --otp {}", recovery[3])), "wrong");
    let spare = renewed.lines().next().unwrap();
    laptop.says(&format!("two-factor disable HOST --otp {spare}"));
    assert_says(&laptop.says("two-factor status HOST"), "on              no");
}

#[test]
fn an_administrator_helps_who_has_lost_it() {
    let server = server();
    let admin = Person::admin(&server);
    let (ann, _) = ann(&server, &admin);
    enable(&ann);
    ann.refused("whoami HOST");
    let (_, recovery) = enable(&admin);
    assert_says(&admin.refused("user reset-two-factor HOST ann"), "--otp CODE");
    admin.says(&format!("user reset-two-factor HOST ann --otp {}", recovery[0]));
    assert_says(&ann.says("whoami HOST"), "ann (by password)");
}

#[test]
fn who_must_have_one_can_set_it_up() {
    let builder = WharfServer::builder(env!("CARGO_BIN_EXE_wharf")).arg("--auth").arg("on");
    let server = builder.env("WHARF_AUTH_REQUIRE_SECOND_FACTOR", "all").start();
    let admin = Person::admin(&server);
    assert_says(&admin.refused("user list HOST"), "requires a second factor");
    let (_, recovery) = enable(&admin);
    let table = admin.says(&format!("user list HOST --otp {}", recovery[0]));
    assert_says(&table, "admin");
}

#[test]
fn one_code_is_enough_for_many_pages_and_leaves_no_session_behind() {
    let server = server();
    let admin = Person::admin(&server);
    let (ann, _) = ann(&server, &admin);
    let client = server.client().basic("admin", &server.first_password());
    // A page has a thousand.
    for n in 0..1_001 {
        client.put(&format!("/api/v1/groups/g{n}")).send().expect(200);
    }
    let token = admin.says("token create HOST --label laptop");
    let (app, recovery) = enable(&admin);
    let groups = admin.says(&format!("group list HOST --otp {}", code(&app, 1)));
    assert_eq!(groups.lines().count(), 1_002, "with its titles");
    let records = admin.wharf(&format!("audit search HOST --json --limit 1500 --otp {}", recovery[0]));
    assert!(records.run().json().as_array().unwrap().len() > 1_001);
    let exported = admin.says(&format!("audit export HOST --format jsonl --otp {}", recovery[1]));
    assert!(exported.lines().count() > 1_001);
    let secret = format!("secret docker HOST ci --create --otp {}", recovery[2]);
    assert_says(&admin.says(&secret), "auths");

    // Also where it comes to nothing.
    let (_, of_ann) = enable(&ann);
    let search = format!("audit search HOST --otp {}", of_ann[0]);
    assert_says(&ann.refused(&search), "audit.read");
    assert_says(&ann.refused(&search), "--otp CODE");

    // Of a token no code is wanted, and none is used up.
    let laptop = Person::signed_in(&server, "admin", &token);
    laptop.says(&format!("user list HOST --otp {}", recovery[3]));

    let started = std::time::Instant::now();
    let signed_out = loop {
        let found = laptop.wharf("audit search HOST --json --action sign-out --oldest-first").run().json();
        let found: Vec<_> = found.as_array().unwrap().iter().map(|one| one["actor"].clone()).collect();
        if found.len() >= 3 || started.elapsed() > std::time::Duration::from_secs(20) {
            break found;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(signed_out, ["admin", "admin", "ann"], "each session that was opened");
    let status = admin.says(&format!("two-factor status HOST --otp {}", recovery[3]));
    assert_says(&status, "recovery codes  6");
}
