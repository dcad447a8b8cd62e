//! How long those are believed who are known elsewhere, with a real LDAP directory and a clock that the test sets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use access::{Context, Gate, Presented, Unauthenticated};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::model::{NewToken, Permission};
use identity::{
    Claimant, Directory, External, Identity, LdapConfig, LdapSettings, Limits, Secret, TokenRequest,
    WorkloadRule,
};
use meta::Clock;
use meta::contract::TestClock;
use meta_sql::SqliteMeta;
use serde_json::json;
use test_kit::slapd::PEOPLE;
use test_kit::{Issuer, Slapd};

const MINUTE: Duration = Duration::from_secs(60);

/// A gate in front of an empty directory.
async fn identity(clock: &Arc<TestClock>, ldap: Option<LdapSettings>, rules: Vec<WorkloadRule>) -> Identity {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let meta = Arc::new(SqliteMeta::in_memory(Arc::clone(&clock)).unwrap());
    let directory = Directory::open(meta, Arc::clone(&clock), Limits::default()).await.unwrap();
    let external = External::new(ldap, rules, clock).unwrap();
    Identity::open(Arc::new(directory)).await.unwrap().with_external(external)
}

fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

/// The name of who sends a header.
async fn who(identity: &Identity, header: &str) -> Result<String, Unauthenticated> {
    let presented = Presented { authorization: Some(header), ..Presented::default() };
    let subject = match identity.recall(&presented) {
        Some(subject) => subject,
        None => identity.authenticate(presented).await?,
    };
    Ok(subject.actor().to_string())
}

async fn people(slapd: &Slapd, clock: &Arc<TestClock>) -> Identity {
    for name in ["ann", "ben"] {
        slapd.add(&format!(
            "dn: uid={name},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n\
             userPassword: secret\n"
        ));
    }
    let config = LdapConfig { url: slapd.url(), user_base: PEOPLE.into(), ..LdapConfig::default() };
    let settings = LdapSettings { config, create_users: true, recheck: 5 * MINUTE };
    identity(clock, Some(settings), Vec::new()).await
}

/// A personal access token of whoever sends a header, as a header.
async fn own_token(identity: &Identity, header: &str) -> String {
    let presented = Presented { authorization: Some(header), ..Presented::default() };
    let subject = identity.authenticate(presented).await.unwrap();
    let new = NewToken { label: "ci".into(), expires: None, permissions: None };
    let made = identity.directory().create_token(&subject, &Context::default(), new).await.unwrap();
    format!("Bearer {}", made.secret.expose())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_down_is_made_up_for_an_hour_long() {
    let mut slapd = Slapd::start();
    let clock = Arc::new(TestClock::new());
    let identity = people(&slapd, &clock).await;
    let ann = basic("ann", "secret");
    assert_eq!(who(&identity, &ann).await.as_deref(), Ok("ann"));
    let token = own_token(&identity, &ann).await;
    slapd.stop();
    for minutes in [4, 2, 53] {
        clock.advance(minutes * MINUTE);
        for header in [&ann, &token] {
            assert_eq!(who(&identity, header).await.as_deref(), Ok("ann"), "{minutes}");
        }
        assert_eq!(who(&identity, &basic("ben", "secret")).await, Err(Unauthenticated::Unavailable));
    }
    clock.advance(2 * MINUTE);
    for header in [&ann, &token] {
        assert_eq!(who(&identity, header).await, Err(Unauthenticated::Unavailable));
    }
    slapd.start_again();
    clock.advance(MINUTE);
    for header in [&token, &ann] {
        assert_eq!(who(&identity, header).await.as_deref(), Ok("ann"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_elsewhere_counts_after_an_hour() {
    let slapd = Slapd::start();
    let clock = Arc::new(TestClock::new());
    let identity = people(&slapd, &clock).await;
    let (old, new) = (basic("ann", "secret"), basic("ann", "another"));
    assert_eq!(who(&identity, &old).await.as_deref(), Ok("ann"));
    slapd.change(&format!(
        "dn: uid=ann,{PEOPLE}\nchangetype: modify\nreplace: userPassword\nuserPassword: another\n"
    ));
    assert_eq!(who(&identity, &new).await.as_deref(), Ok("ann"));
    clock.advance(59 * MINUTE);
    assert_eq!(who(&identity, &old).await.as_deref(), Ok("ann"));
    clock.advance(2 * MINUTE);
    assert_eq!(who(&identity, &old).await, Err(Unauthenticated::Wrong));
    assert_eq!(who(&identity, &new).await.as_deref(), Ok("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_known_as_long_as_its_token_says() {
    let issuer = Issuer::start();
    let clock = Arc::new(TestClock::new());
    let rule = WorkloadRule {
        name: "main".into(),
        issuer: issuer.url().to_owned(),
        audience: "wharf".into(),
        conditions: BTreeMap::from([("sub".into(), "job".into())]),
        ca: None,
        jwks: Some(issuer.jwks().to_string()),
        permissions: vec![Permission {
            project: None,
            actions: access::ActionSet::of(&[access::Action::Pull]).into(),
        }],
        lifetime: 15 * MINUTE,
    };
    let identity = identity(&clock, None, vec![rule]).await;
    let now = clock.now().micros() / 1_000_000;
    let token = issuer.token(json!({"sub": "job", "aud": "wharf", "iat": now, "nbf": now, "exp": now + 300}));
    let password = basic("workload", &token);
    assert_eq!(who(&identity, &password).await.as_deref(), Ok("workload:main:job"));
    let request = TokenRequest {
        scopes: vec!["repository:a/b:pull,push".into()],
        offline: true,
        ..TokenRequest::default()
    };
    let issued = identity.issue(Claimant::Workload(&Secret::new(token)), &request, None).await.unwrap();
    assert_eq!(issued.expires_in, 900);
    assert!(issued.refresh_token.is_none());
    let bearer = format!("Bearer {}", issued.access_token);
    let steps = [(0, true, true), (4, true, true), (2, false, true), (10, false, false)];
    for (minutes, by_password, by_token) in steps {
        clock.advance(minutes * MINUTE);
        for (header, expect) in [(&password, by_password), (&bearer, by_token)] {
            let name = || "workload:main:job".to_owned();
            let expect = expect.then(name).ok_or(Unauthenticated::Wrong);
            assert_eq!(who(&identity, header).await, expect, "{minutes}");
        }
    }
}
