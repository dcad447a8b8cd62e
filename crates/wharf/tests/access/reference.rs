//! The description of the administration API, held against what a server answers.

use crate::registry;
use serde_json::{Value, json};
use test_kit::House;
use test_kit::house::push;
use test_kit::http::Client;

/// What is wrong with a value, by the part of JSON Schema that our schemas use.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let wrong = |why: &str| vec![format!("{at}: {why}: {value}")];
    let mut found = Vec::new();
    for (word, rule) in schema.as_object().into_iter().flatten() {
        found.extend(match word.as_str() {
            "$ref" => {
                let pointer = rule.as_str().and_then(|target| target.strip_prefix('#')).expect("a reference");
                faults(document, document.pointer(pointer).expect("what it refers to"), value, at)
            }
            "type" => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if types.iter().any(|one| is(one.as_str().expect("a type"), value)) {
                    vec![]
                } else {
                    wrong("type")
                }
            }
            "enum" if !rule.as_array().expect("values").contains(value) => wrong("not one of them"),
            "const" if rule != value => wrong("not the constant"),
            "required" => rule
                .as_array()
                .expect("names")
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| value.get(name).is_none())
                .map(|name| format!("{at}: without {name}: {value}"))
                .collect(),
            "properties" => value
                .as_object()
                .into_iter()
                .flatten()
                .flat_map(|(name, value)| {
                    // Stricter than JSON Schema: a field that is sent is described.
                    match (rule.get(name), schema.get("$ref")) {
                        (Some(rule), _) => faults(document, rule, value, &format!("{at}.{name}")),
                        (None, Some(_)) => vec![],
                        (None, None) => vec![format!("{at}: {name} is not described")],
                    }
                })
                .collect(),
            "items" => value
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|value| faults(document, rule, value, &format!("{at}[]")))
                .collect(),
            "oneOf" | "anyOf" => {
                let ways: Vec<_> = rule
                    .as_array()
                    .expect("schemas")
                    .iter()
                    .map(|way| faults(document, way, value, at))
                    .collect();
                if ways.iter().any(Vec::is_empty) { vec![] } else { ways.concat() }
            }
            _ => vec![],
        });
    }
    found
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("{other} is a type that this test does not know"),
    }
}

/// Asks, and holds status and body against what the document says of the route.
fn check(document: &Value, client: &Client, line: &str, template: &str, body: &Value) -> Value {
    let (method, path) = line.split_once(' ').expect("a request line");
    let operation = &document["paths"][template][method.to_lowercase()];
    if let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") {
        let left_out = body.is_null() && operation["requestBody"]["required"] == false;
        assert!(left_out || faults(document, schema, body, line).is_empty(), "{line}: {body}");
    }
    let request = client.request(method, &format!("/api/v1{path}"));
    let answer = if body.is_null() { request.send() } else { request.body(body.to_string()).send() };
    let mut described = &operation["responses"][answer.status.to_string()];
    if let Some(target) = described["$ref"].as_str() {
        described = document.pointer(&target[1..]).expect("what it refers to");
    }
    assert!(described.is_object(), "{line}: this status is not described: {answer}");
    let Some((_, content)) = described["content"].as_object().and_then(|content| content.iter().next())
    else {
        assert!(answer.body.is_empty(), "{line}: {answer}");
        return Value::Null;
    };
    let text = String::from_utf8_lossy(&answer.body);
    let mut last = Value::Null;
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        last = value.expect("JSON");
        assert_eq!(faults(document, &content["schema"], &last, line), Vec::<String>::new());
    }
    assert!(!last.is_null(), "{line} says nothing");
    last
}

#[test]
fn answers_are_as_described() {
    let house: House = registry();
    let document = house.anybody().get("/api/v1/openapi.json").expect(200).json();
    push(&house.admin, "team/app", "v1");
    let none = Value::Null;
    let admin =
        |line: &str, template: &str, body: &Value| check(&document, &house.admin, line, template, body);
    admin("GET /me", "/me", &none);
    admin("POST /users", "/users", &json!({"name": "ann", "password": "rowing upstream at dawn"}));
    admin("POST /users", "/users", &json!({"name": "ann"}));
    admin("GET /users", "/users", &none);
    admin("GET /users/nobody", "/users/{user}", &none);
    admin("PATCH /users/ann", "/users/{user}", &json!({"email": "ann@example.com"}));
    admin("POST /users/ann/reset-password", "/users/{user}/reset-password", &none);
    admin("PUT /groups/ops", "/groups/{group}", &json!({"description": "those on duty"}));
    admin("PUT /groups/ops/members/ann", "/groups/{group}/members/{user}", &none);
    admin("GET /groups/ops/members", "/groups/{group}/members", &none);
    admin("GET /roles", "/roles", &none);
    admin("PUT /projects/team/pay", "/projects/{project}", &json!({"public": false}));
    admin("PATCH /projects/team/pay", "/projects/{project}", &json!({"public": null}));
    admin("GET /projects", "/projects", &none);
    admin(
        "PUT /projects/team/-/members/user:ann/guest",
        "/projects/{project}/-/members/{principal}/{role}",
        &none,
    );
    admin("GET /projects/team/-/members", "/projects/{project}/-/members", &none);
    let robot = json!({"name": "ci", "permissions": [{"project": "team", "actions": ["pull"]}]});
    admin("POST /projects/team/-/robots", "/projects/{project}/-/robots", &robot);
    admin("POST /projects/team/-/robots/ci/rotate", "/projects/{project}/-/robots/{robot}/rotate", &none);
    admin("POST /me/tokens", "/me/tokens", &json!({"label": "laptop"}));
    admin("GET /me/tokens", "/me/tokens", &none);
    admin("POST /me/totp", "/me/totp", &none);
    admin("GET /audit", "/audit", &none);
    admin("POST /audit/verify", "/audit/verify", &none);
    let collected = admin("POST /gc", "/gc", &json!({"dry_run": true}));
    assert_eq!(collected["type"], "summary");
    assert_eq!(admin("POST /check", "/check", &json!({"read": true}))["manifests"], 1);
    check(&document, &house.anybody(), "GET /users", "/users", &none);
    check(&document, &house.user("bob"), "GET /users", "/users", &none);
}

#[test]
fn the_page_and_the_document_need_no_sign_in() {
    let house = registry();
    let page = house.anybody().get("/api/v1/docs").expect(200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
}
