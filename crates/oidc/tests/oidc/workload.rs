//! Which tokens of CI jobs and pods are exchanged, by rules as they are configured.

use std::collections::BTreeMap;

use oidc::{Exchange, IssuerSettings, Matched, OidcError, Rule, WorkloadError};
use serde_json::{Value, json};

use crate::common::{NOW, TestKey, World};

fn rule(issuer: IssuerSettings, audience: &str, conditions: &[(&str, &str)]) -> Result<Rule, WorkloadError> {
    let condition = |(claim, pattern): &(&str, &str)| Ok(((*claim).to_owned(), pattern.parse()?));
    let conditions: Result<BTreeMap<_, _>, WorkloadError> = conditions.iter().map(condition).collect();
    Rule::new(issuer, audience, conditions?)
}

fn exchange(world: &World, rules: &[(&str, &[(&str, &str)])]) -> Exchange {
    let rules = rules.iter().map(|(name, conditions)| {
        let settings = IssuerSettings::new(world.url());
        ((*name).to_owned(), rule(settings, "wharf", conditions).unwrap())
    });
    Exchange::new(rules.collect(), world.clock.clock()).unwrap()
}

/// Exchanges a token; an error never shows it.
async fn try_token(exchange: &Exchange, token: &str) -> Result<Matched, WorkloadError> {
    let outcome = exchange.exchange(token).await;
    if let Err(error) = &outcome {
        let text = format!("{error} {error:?}");
        let parts = token.split('.').filter(|part| part.len() > 8);
        assert!(parts.into_iter().all(|part| !text.contains(part)), "{text} shows {token}");
    }
    outcome
}

async fn check(rules: &[(&str, &[(&str, &str)])], claims: Value, expect: Option<&str>) {
    let world = World::new();
    let outcome = try_token(&exchange(&world, rules), &world.token(claims.clone())).await;
    match (outcome, expect) {
        (Ok(matched), Some(expect)) => assert_eq!(matched.rule, expect, "{claims}"),
        (Err(WorkloadError::NoRule { .. }), None) => {}
        (outcome, _) => panic!("{claims}: {outcome:?}"),
    }
}

#[tokio::test]
async fn github_jobs_match() {
    let job = |changes: Value| {
        let mut claims = json!({
            "sub": "repo:org/app:ref:refs/heads/main",
            "repository": "org/app", "repository_owner": "org", "ref": "refs/heads/main",
            "job_workflow_ref": "org/ci/.github/workflows/release.yml@refs/heads/main",
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    let main: &[(&str, &[(&str, &str)])] = &[("main", &[("sub", "repo:org/*:ref:refs/heads/main")])];
    check(main, job(json!({})), Some("main")).await;
    check(main, job(json!({ "sub": "repo:org/app:ref:refs/heads/x" })), None).await;
    check(main, job(json!({ "sub": "repo:org/app:pull_request" })), None).await;
    check(main, job(json!({ "sub": "repo:evil/app:ref:refs/heads/main" })), None).await;
    check(main, job(json!({ "sub": "repo:org/x:environment:y:ref:refs/heads/main" })), None).await;
    let workflow: &[(&str, &[(&str, &str)])] = &[(
        "release",
        &[
            ("repository_owner", "org"),
            ("job_workflow_ref", "org/ci/.github/workflows/*.yml@refs/heads/main"),
        ],
    )];
    check(workflow, job(json!({})), Some("release")).await;
    check(workflow, job(json!({ "repository_owner": "evil" })), None).await;
    check(workflow, job(json!({ "job_workflow_ref": "org/ci/.github/workflows/a.yml@refs/heads/x" })), None)
        .await;
    check(workflow, json!({ "repository_owner": "org" }), None).await;
}

#[tokio::test]
async fn gitlab_jobs_match() {
    let rules: &[(&str, &[(&str, &str)])] = &[
        ("protected", &[("project_path", "group/*"), ("ref_protected", "true")]),
        ("any", &[("namespace_path", "group")]),
    ];
    let job = json!({ "project_path": "group/app", "namespace_path": "group", "ref_protected": "true" });
    check(rules, job, Some("protected")).await;
    let job = json!({ "project_path": "group/app", "namespace_path": "group", "ref_protected": "false" });
    check(rules, job, Some("any")).await;
    let job =
        json!({ "project_path": "group/sub/app", "namespace_path": "group/sub", "ref_protected": "true" });
    check(rules, job, None).await;
}

#[tokio::test]
async fn pods_match() {
    let rules: &[(&str, &[(&str, &str)])] = &[
        ("by-claims", &[("kubernetes.io.namespace", "ci"), ("kubernetes.io.serviceaccount.name", "build*")]),
        ("by-subject", &[("sub", "system:serviceaccount:prod:*")]),
    ];
    let pod = |namespace: &str, account: &str| {
        json!({
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": account, "uid": "1" } },
        })
    };
    check(rules, pod("ci", "builder"), Some("by-claims")).await;
    check(rules, pod("prod", "anything"), Some("by-subject")).await;
    check(rules, pod("ci", "other"), None).await;
    check(rules, pod("dev", "builder"), None).await;
    check(rules, json!({ "kubernetes.io.namespace": "ci" }), None).await;
}

#[tokio::test]
async fn a_match_says_who_it_is() {
    let world = World::new();
    let exchange = exchange(&world, &[("main", &[("repository", "org/app")])]);
    let matched = exchange.exchange(&world.token(json!({ "repository": "org/app" }))).await.unwrap();
    assert_eq!((matched.rule.as_str(), matched.subject.as_str()), ("main", "somebody"));
    assert_eq!(matched.issuer, world.url());
    assert_eq!(matched.claims.text("repository"), Some("org/app"));
    let expires = matched.expires.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(expires.as_secs(), NOW + 300);
    let token = world.token(json!({ "repository": "org/app", "sub": null }));
    let error = try_token(&exchange, &token).await.unwrap_err();
    assert!(error.to_string().contains("`sub` is missing"), "{error}");
}

#[tokio::test]
async fn only_issuers_of_rules_are_believed_or_asked() {
    let (mine, other) = (World::new(), World::new());
    let exchange = exchange(&mine, &[("main", &[("sub", "somebody")])]);
    let check = async |token: String, expect: &str| {
        let error = try_token(&exchange, &token).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(other.token(json!({})), "which no rule is for").await;
    check(other.token(json!({ "iss": null })), "which no rule is for").await;
    check(other.token(json!({ "iss": [mine.url()] })), "which no rule is for").await;
    assert_eq!(other.server.requests().len() + mine.server.requests().len(), 0);
    // Another's signature under the name of a configured issuer.
    check(other.token(json!({ "iss": mine.url() })), "not by the key").await;
    check(mine.token(json!({ "aud": "another" })), "of its rule, which is `wharf`").await;
    check(mine.token(json!({ "sub": "other" })), "the token of `other` is genuine").await;
    check(mine.token(json!({ "exp": NOW - 60 })), "has expired").await;
    check("x".repeat(40_000), "more than 32768 bytes").await;
    check("x.y".to_owned(), "three parts").await;
}

#[tokio::test]
async fn each_rule_has_its_audience_and_the_first_that_fits_counts() {
    let world = World::new();
    let rules = [("a", "one", "x"), ("b", "two", "x"), ("c", "two", "*x")].map(|(name, audience, sub)| {
        let settings = IssuerSettings::new(world.url());
        (name.to_owned(), rule(settings, audience, &[("sub", sub)]).unwrap())
    });
    let exchange = Exchange::new(rules.into(), world.clock.clock()).unwrap();
    for (audience, subject, expect) in
        [("one", "x", Some("a")), ("two", "x", Some("b")), ("two", "yx", Some("c")), ("one", "yx", None)]
    {
        let outcome = exchange.exchange(&world.token(json!({ "aud": audience, "sub": subject }))).await;
        assert_eq!(outcome.ok().map(|matched| matched.rule).as_deref(), expect, "{audience} {subject}");
    }
    let error = exchange.exchange(&world.token(json!({ "aud": "three" }))).await.unwrap_err();
    assert!(error.to_string().contains("`one` or `two`"), "{error}");
    // One issuer, however many rules: asked once.
    assert_eq!(world.server.requests().len(), 2);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_asked_gives_its_keys() {
    let world = World::with(TestKey::rs256("cluster"));
    let settings = IssuerSettings {
        jwks: Some(json!({ "keys": [world.key.jwk()] }).to_string()),
        ..IssuerSettings::new("https://kubernetes.default.svc.cluster.local")
    };
    let rules =
        vec![("pods".to_owned(), rule(settings, "wharf", &[("sub", "system:serviceaccount:ci:*")]).unwrap())];
    let exchange = Exchange::new(rules, world.clock.clock()).unwrap();
    let token = world.token(json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "sub": "system:serviceaccount:ci:builder",
    }));
    assert_eq!(exchange.exchange(&token).await.unwrap().rule, "pods");
}

#[test]
fn rules_that_would_take_everybody_are_refused() {
    let check = |audience: &str, conditions: &[(&str, &str)], expect: Option<&str>| {
        let outcome = rule(IssuerSettings::new("https://issuer.test"), audience, conditions);
        let error = outcome.err().map(|error| error.to_string());
        match expect {
            None => assert_eq!(error, None, "{conditions:?}"),
            Some(expect) => assert!(error.is_some_and(|error| error.contains(expect)), "{conditions:?}"),
        }
    };
    check("wharf", &[("sub", "a")], None);
    check("wharf", &[("sub", "*"), ("repository", "org/*")], None);
    check("wharf", &[], Some("says nothing about who"));
    check("wharf", &[("sub", "*")], Some("says nothing about who"));
    check("wharf", &[("sub", "*:*/*:*")], Some("says nothing about who"));
    check("wharf", &[("iss", "https://issuer.test"), ("aud", "wharf")], Some("says nothing about who"));
    check("", &[("sub", "a")], Some("has no audience"));
    check("wharf", &[("sub", "org/**")], Some("`**` has no meaning"));
}

#[test]
fn rules_that_contradict_one_another_are_refused() {
    let clock = crate::common::TestClock::new().clock();
    let check = |rules: Vec<(&str, IssuerSettings)>, expect: WorkloadError| {
        let rules = rules
            .into_iter()
            .map(|(name, settings)| (name.to_owned(), rule(settings, "wharf", &[("sub", "a")]).unwrap()));
        assert_eq!(Exchange::new(rules.collect(), clock.clone()).err(), Some(expect));
    };
    let plain = || IssuerSettings::new("https://issuer.test");
    check(vec![("a", plain()), ("a", plain())], WorkloadError::SameName("a".to_owned()));
    let with_ca = IssuerSettings { ca: Some(b"x".to_vec()), ..plain() };
    let contradiction = WorkloadError::Contradiction("https://issuer.test".to_owned());
    check(vec![("a", plain()), ("b", with_ca)], contradiction);
    let address = "http://issuer.test";
    let why = "it must begin with https:// (http:// is for this machine's loopback)";
    let error = OidcError::Address { address: address.to_owned(), what: "an issuer", why };
    check(vec![("a", IssuerSettings::new(address))], error.into());
}
