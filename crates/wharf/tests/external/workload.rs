//! CI jobs and pods with tokens of an issuer, as docker, the kubelet and pipelines send them.

use serde_json::{Value, json};
use test_kit::Issuer;

use crate::{World, basic, bearer};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Rules for the tokens of GitHub, GitLab and Kubernetes.
fn rules(issuer: &Issuer) -> String {
    let rule = |name: &str, matches: &str, more: &str| {
        format!(
            "[[auth.workload]]\nname = \"{name}\"\nissuer = \"{}\"\naudience = \"wharf\"\nmatch = {{ {matches} }}\n{more}\n",
            issuer.url()
        )
    };
    let team = "permissions = [{ project = \"team\", actions = [\"pull\", \"push\"] }]";
    let later = "permissions = [{ project = \"later\", actions = [\"pull\", \"push\"] }]\nlifetime = \"10m\"";
    let pull = "permissions = [{ project = \"team\", actions = [\"pull\"] }]";
    [
        rule("github", "repository = \"org/app\", ref = \"refs/heads/*\"", team),
        rule("gitlab", "project_path = \"group/*\", ref_protected = \"true\"", later),
        rule("pods", "\"kubernetes.io.namespace\" = \"ci\"", pull),
    ]
    .concat()
}

fn github() -> Value {
    json!({"aud": "wharf", "sub": "repo:org/app:ref:refs/heads/main", "repository": "org/app", "ref": "refs/heads/main"})
}

fn gitlab() -> Value {
    let sub = "project_path:group/app:ref_type:branch:ref:main";
    json!({"aud": ["wharf"], "sub": sub, "project_path": "group/app", "ref_protected": "true"})
}

fn pod() -> Value {
    let cluster = json!({"namespace": "ci", "serviceaccount": {"name": "builder", "uid": "1"}});
    json!({"aud": ["wharf"], "sub": "system:serviceaccount:ci:builder", "kubernetes.io": cluster})
}

fn with(mut claims: Value, changes: Value) -> Value {
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

fn exchange(world: &World, fields: &[(&str, &str)]) -> test_kit::http::Response {
    let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let client = world.server.client();
    let request = client.request("POST", "/token");
    request.header("Content-Type", "application/x-www-form-urlencoded").body(form.join("&")).send()
}

#[test]
fn each_platform_is_known_by_its_rule() {
    let issuer = Issuer::start();
    let world = World::start(&rules(&issuer));
    let check = |name: &str, claims: Value, expect: &str| {
        let who = basic(name, &issuer.token(claims));
        assert_eq!(world.name_of(&who).as_deref(), Ok(expect));
    };
    check("workload", github(), "workload:github:repo:org/app:ref:refs/heads/main");
    check("oidc", gitlab(), "workload:gitlab:project_path:group/app:ref_type:branch:ref:main");
    check("workload", pod(), "workload:pods:system:serviceaccount:ci:builder");
    let long = with(github(), json!({"sub": "x".repeat(255)}));
    check("workload", long, &format!("workload:github:{}", "x".repeat(200)));
    assert!(world.server.log().contains("workloads by `github`, `gitlab`, `pods`"));
}

#[test]
fn others_are_refused() {
    let (issuer, stranger) = (Issuer::start(), Issuer::start());
    let world = World::start(&rules(&issuer));
    let check = |name: &str, token: &str, expect: u16| {
        assert_eq!(world.name_of(&basic(name, token)), Err(expect), "{token}");
        assert_eq!(world.token(&basic(name, token), "repository:team/app:pull").status, expect, "{token}");
    };
    let refused = |claims: Value| {
        let token = issuer.token(claims);
        check("workload", &token, 401);
        let fields = [("grant_type", EXCHANGE), ("subject_token_type", JWT), ("subject_token", &token)];
        exchange(&world, &fields).expect(401);
    };
    refused(with(github(), json!({"aud": "another"})));
    refused(with(github(), json!({"repository": "org/other"})));
    refused(with(github(), json!({"ref": "refs/heads/feature/x"})));
    refused(with(github(), json!({"exp": 1_700_000_000, "nbf": 1_600_000_000, "iat": 1_600_000_000})));
    refused(with(github(), json!({"iss": stranger.url()})));
    refused(with(gitlab(), json!({"ref_protected": "false"})));
    check("workload", &stranger.token(github()), 401);
    check("workload", &stranger.token(with(github(), json!({"iss": issuer.url()}))), 401);
    check("ann", &issuer.token(github()), 401);
    assert_eq!(stranger.requests(), 0);
    // However many were refused: nobody can lock the name that all workloads share.
    assert!(world.name_of(&basic("workload", &issuer.token(github()))).is_ok());
}

#[test]
fn a_pipeline_pushes_only_where_its_rule_says() {
    let issuer = Issuer::start();
    let world = World::start(&rules(&issuer));
    world.project("team");
    world.project("other");
    let job = basic("workload", &issuer.token(github()));
    assert_eq!(world.push(&job, "team/app"), 202);
    assert_eq!(world.push(&job, "other/app"), 403);
    let both = "repository:team/app:pull,push,delete&scope=repository:other/app:pull,push";
    let issued = world.token(&job, both).expect(200).json();
    assert_eq!(issued["scope"], "repository:team/app:pull,push");
    assert_eq!(issued["expires_in"], 900);
    assert!(issued["refresh_token"].is_null());
    let access = bearer(&issued);
    assert_eq!(world.push(&access, "team/app"), 202);
    for repository in ["team/second", "other/app"] {
        assert!(matches!(world.push(&access, repository), 401 | 403), "{repository}");
    }
    let pod = basic("workload", &issuer.token(pod()));
    assert_eq!(world.push(&pod, "team/app"), 403);
    let issued = world.token(&pod, "repository:team/app:pull,push").expect(200).json();
    assert_eq!(issued["scope"], "repository:team/app:pull");
}

#[test]
fn a_token_is_exchanged() {
    let issuer = Issuer::start();
    let world = World::start(&rules(&issuer));
    let token = issuer.token(gitlab());
    let form = |kind: &'static str, scope: &'static str| {
        let fields = [("grant_type", EXCHANGE), ("subject_token_type", kind), ("scope", scope)];
        let fields: Vec<_> = fields.into_iter().chain([("subject_token", &*token)]).collect();
        exchange(&world, &fields)
    };
    let scope = "repository:later/app:pull,push+repository:team/app:pull";
    // The project of the rule is not there yet: nothing is allowed in it.
    assert_eq!(form(JWT, scope).expect(200).json()["scope"], "");
    world.project("later");
    for kind in [JWT, "urn:ietf:params:oauth:token-type:id_token"] {
        let issued = form(kind, scope).expect(200).json();
        assert_eq!(issued["scope"], "repository:later/app:pull,push");
        assert_eq!(issued["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
        assert_eq!((&issued["token_type"], &issued["expires_in"]), (&json!("Bearer"), &json!(600)));
        assert_eq!(world.push(&bearer(&issued), "later/app"), 202);
    }
    assert_eq!(
        form("urn:ietf:params:oauth:token-type:saml2", scope).expect(400).json()["error"],
        "invalid_request"
    );
    exchange(&world, &[("grant_type", EXCHANGE), ("subject_token_type", JWT)]).expect(400);
    let plain = World::start("");
    let fields = [("grant_type", EXCHANGE), ("subject_token_type", JWT), ("subject_token", &*token)];
    exchange(&plain, &fields).expect(401);
}

#[test]
fn an_issuer_that_went_down_is_believed_by_its_keys() {
    let (issuer, silent) = (Issuer::start(), Issuer::start());
    silent.go_down();
    let world = World::start(&(rules(&issuer) + &rules(&silent).replace("name = \"", "name = \"silent-")));
    let name = |issuer: &Issuer| world.name_of(&basic("workload", &issuer.token(github())));
    name(&issuer).unwrap();
    issuer.go_down();
    name(&issuer).unwrap();
    assert_eq!(issuer.requests(), 2, "the document and the keys");
    assert_eq!(name(&silent), Err(503));
}

#[test]
fn a_rule_that_is_gone_ends_its_tokens() {
    let issuer = Issuer::start();
    let mut world = World::start(&rules(&issuer));
    world.project("team");
    let access = world.bearer(&basic("workload", &issuer.token(github())), "repository:team/app:pull,push");
    world.server.restart();
    assert_eq!(world.push(&access, "team/app"), 202);
    let file = world.server.data().with_file_name("wharf.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace("name = \"github\"", "name = \"another\"")).unwrap();
    world.server.restart();
    assert_eq!(world.push(&access, "team/app"), 401);
}

#[test]
fn a_server_with_a_wrong_rule_does_not_start() {
    let folder = test_kit::temp_dir();
    let file = folder.path().join("wharf.toml");
    let check = |rule: &str, expect: &str| {
        std::fs::write(&file, rule).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.arg("serve").arg("--data").arg(folder.path().join("data")).args(["--listen", "127.0.0.1:0"]);
        let output = command.arg("--config").arg(&file).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(expect), "{message}");
    };
    let good = "[[auth.workload]]\nname = 'a'\nissuer = 'https://issuer.test'\naudience = 'wharf'\n\
                match = { repository = 'org/app' }\npermissions = [{ project = 'team', actions = ['pull'] }]\n";
    check(&good.replace("'org/app'", "'*'"), "in the [[auth.workload]] rule `a`: ");
    check(&good.replace("'pull'", "'pul'"), "`pul` is no action");
}
