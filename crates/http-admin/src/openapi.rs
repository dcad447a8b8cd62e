//! The OpenAPI 3.1 description of the API, made from the table of routes and the types of the bodies.
//!
//! The token service, whose forms are those of other documents, is described by hand.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::ROOT;
use crate::parameter::{Form, Parameter};
use crate::route::{Gives, Permission, ROUTES, Route, SecondFactor, Takes};

const ABOUT: &str = "Bodies are JSON, at most 64 KiB, without fields that are not known. Lists have `items`, and where \
    there is more `next`, to be sent as `?after=`.\n\nA project's name may have slashes, which stand in the path as they \
    are: `/projects/team/pay/-/members`. The dash ends the name. Clients that write a slash as `%2F` are understood, too.";

/// An error.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
struct ProblemShown {
    /// Always `error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What happened, to what, and what to do.
    message: String,
}

/// The description.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut requests = settings.clone().for_deserialize().into_generator();
    let mut answers = settings.for_serialize().into_generator();
    let problem = answers.subschema_for::<ProblemShown>();
    let issued = answers.subschema_for::<identity::Issued>();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut requests, &mut answers);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation;
    }
    token_service(&mut paths, &json!(issued));
    // A type that is sent and received has the stricter of its two schemas: no field that is not known.
    let mut schemas = answers.take_definitions(false);
    schemas.append(&mut requests.take_definitions(false));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Wharf administration API",
            "version": "1",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ROOT}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems(&json!(problem)),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "a user's password or token, or a robot's secret"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "a session, or a personal access token"},
                "otp": {
                    "type": "apiKey", "in": "header", "name": "X-Wharf-OTP",
                    "description": "a code of the second factor, for who has one; right after a session was opened it is not asked for",
                },
            },
        },
    })
}

fn operation(route: &Route, requests: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
    let group = route.path.split('/').nth(1).unwrap_or_default();
    let within = if route.path.contains("{project}/-/") { "project_" } else { "" };
    let parameters = parameters(route);
    let mut operation = json!({
        "operationId": format!("{within}{}", route.name),
        "tags": [group],
        "summary": route.summary,
        "x-wharf-permission": route.permission.text(),
        "x-wharf-second-factor": match route.second_factor {
            SecondFactor::Usual => "usual",
            SecondFactor::StepUp => "with this request",
            SecondFactor::Enrolment => "usual, or still to be set up",
        },
        "security": security(route),
        "responses": responses(route, !parameters.is_empty(), answers),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(Takes { schema, optional }) = &route.takes {
        let content = json!({"application/json": {"schema": schema(requests)}});
        operation["requestBody"] = json!({"required": !optional, "content": content});
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = names.map(|name| {
        let (about, example) = match name {
            "project" => ("the project; its name may have slashes, which stand as they are", "team/pay"),
            "user" => ("the user's name", "ann"),
            "group" => ("the group's name; a slash in it is written %2F", "operators"),
            "role" => ("the role's name", "developer"),
            "robot" => ("the robot's name, without that of its project", "ci"),
            "token" => ("the token's id", "0192f3a47c1e"),
            "passkey" => ("the passkey's id", "6f1e0c2ab95d4437"),
            "upstream" => ("the upstream's key", "dockerhub"),
            "principal" => ("who: `user:NAME` or `group:NAME`", "user:ann"),
            _ => ("", ""),
        };
        json!({
            "name": name, "in": "path", "required": true, "description": about,
            "schema": {"type": "string"}, "example": example,
        })
    });
    in_path.chain(route.query.iter().map(in_query)).collect()
}

fn in_query(parameter: &Parameter) -> Value {
    let (schema, example) = match parameter.form {
        Form::Text(_) => (json!({"type": "string"}), json!(parameter.example())),
        Form::Number => {
            (json!({"type": "integer", "minimum": 0}), json!(parameter.example().parse::<u64>().ok()))
        }
        Form::Moment => (json!({"type": "string", "format": "date-time"}), json!(parameter.example())),
        Form::OneOf(values) => (json!({"type": "string", "enum": values}), json!(parameter.example())),
    };
    json!({
        "name": parameter.name, "in": "query", "required": false, "description": parameter.about,
        "schema": schema, "example": example,
    })
}

fn security(route: &Route) -> Value {
    match (route.permission, route.second_factor) {
        (Permission::Anyone, _) => json!([]),
        (_, SecondFactor::StepUp) => {
            json!([{"basic": []}, {"bearer": []}, {"basic": [], "otp": []}, {"bearer": [], "otp": []}])
        }
        _ => json!([{"basic": []}, {"bearer": []}]),
    }
}

/// The success, and the errors that can come of what the route asks for.
fn responses(route: &Route, has_parameters: bool, answers: &mut SchemaGenerator) -> Value {
    let Gives { status, content, others } = &route.gives;
    let mut success = json!({"description": if *status == 201 { "made" } else { "done" }});
    if let Some((media_type, schema)) = content {
        let schema = schema.map_or_else(|| json!(true), |schema| json!(schema(answers)));
        let about = if *media_type == crate::reply::LINES {
            "a document of this kind on each line, and in place of the last one a Problem where the work failed"
        } else {
            "what was asked for"
        };
        success["description"] = about.into();
        success["content"] = json!({*media_type: {"schema": schema}});
        for other in *others {
            success["content"][*other] = json!({"schema": {"type": "string"}});
        }
    }
    let mut responses = Map::from_iter([(status.to_string(), success)]);
    let (body, open) = (route.takes.is_some(), route.permission == Permission::Anyone);
    let errors = [
        ("400", body || has_parameters),
        ("401", !open || body),
        ("403", !open || body),
        ("404", route.path.contains('{')),
        ("409", !open || body),
        ("413", body),
        ("415", body),
        ("429", !open || body),
        ("default", true),
    ];
    for (status, _) in errors.iter().filter(|(_, can)| *can) {
        responses.insert((*status).into(), json!({"$ref": format!("#/components/responses/{status}")}));
    }
    responses.into()
}

fn problems(schema: &Value) -> Value {
    let content = json!({"application/json": {"schema": schema}});
    let plain = |about: &str| json!({"description": about, "content": content});
    let text = json!({"schema": {"type": "string"}});
    let mut wanted = plain("not signed in, or a code of the second factor is wanted");
    wanted["headers"] = json!({"WWW-Authenticate": text, "X-Wharf-OTP": {
        "description": "`required` where a code is wanted", "schema": {"type": "string"},
    }});
    let mut later = plain("too many wrong secrets, or too busy");
    later["headers"] =
        json!({"Retry-After": {"description": "after how many seconds", "schema": {"type": "integer"}}});
    json!({
        "400": plain("a mistake in the request"),
        "401": wanted,
        "403": plain("not allowed"),
        "404": plain("there is nothing of this name"),
        "409": plain("in the way of something that is there, or this registry has no users or no journal"),
        "413": plain("the body is too long"),
        "415": plain("the body is compressed"),
        "429": later,
        "default": plain("the registry cannot do it: the message and its log say why"),
    })
}

/// What is not below `/api/v1`, and has its forms from the Docker token specification, RFC 6749, RFC 7517 and RFC 8693.
fn token_service(paths: &mut Map<String, Value>, issued: &Value) {
    let root = json!([{"url": "/"}]);
    let answer = json!({"description": "a token", "content": {"application/json": {"schema": issued}}});
    let failure = json!({"description": "refused", "content": {"application/json": {"schema": {
        "type": "object",
        "required": ["error", "error_description", "errors"],
        "properties": {
            "error": {"type": "string", "description": "as RFC 6749 has it"},
            "error_description": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "object"}, "description": "the same as the registry protocol has it"},
        },
    }}}});
    let query = |name: &str, about: &str, example: &str| {
        json!({"name": name, "in": "query", "required": false, "description": about,
            "schema": {"type": "string"}, "example": example})
    };
    let operation = |id: &str, summary: &str, security: Value| {
        json!({
            "operationId": id, "tags": ["token"], "summary": summary, "x-wharf-permission": "anyone",
            "x-wharf-second-factor": "usual", "security": security,
            "responses": {"200": answer, "default": failure},
        })
    };
    let mut get = operation("token", "Gives out an access token", json!([{}, {"basic": []}]));
    get["parameters"] = json!([
        query("service", "for whom; not looked at", "wharf"),
        query(
            "scope",
            "what for; may be repeated, or hold several with spaces between them",
            "repository:team/app:pull,push"
        ),
        query("offline_token", "`true`: with a refresh token", "true"),
    ]);
    let mut post = operation(
        "exchange_token",
        "Gives out an access token, as OAuth 2 has it",
        json!([{}, {"basic": []}]),
    );
    post["requestBody"] = json!({"required": true, "content": {"application/x-www-form-urlencoded": {"schema": {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"type": "string", "enum": [
                "password", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange",
            ]},
            "scope": {"type": "string", "examples": ["repository:team/app:pull"]},
            "access_type": {"type": "string", "enum": ["online", "offline"], "description": "`offline`: with a refresh token"},
            "username": {"type": "string", "description": "for `password`"},
            "password": {"type": "string", "format": "password", "description": "for `password`"},
            "refresh_token": {"type": "string", "format": "password", "description": "for `refresh_token`"},
            "subject_token": {"type": "string", "format": "password", "description": "for an exchange: the token of a CI job or a pod"},
            "subject_token_type": {"type": "string", "description": "for an exchange"},
        },
    }}}});
    paths.insert("/token".into(), json!({"servers": root, "get": get, "post": post}));
    let mut keys = operation("jwks", "Shows the keys that access tokens are signed with", json!([]));
    keys["responses"] = json!({"200": {"description": "a set of keys (RFC 7517)", "content": {"application/json": {"schema": {
        "type": "object", "required": ["keys"], "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
    }}}}});
    paths.insert("/.well-known/jwks.json".into(), json!({"servers": root, "get": keys}));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

    #[test]
    fn it_has_every_route_and_nothing_else() {
        let document = openapi();
        let mut found = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if METHODS.contains(&method.as_str()) {
                    found.insert(format!("{} {path}", method.to_uppercase()));
                    let id = operation["operationId"].as_str().unwrap();
                    assert!(ids.insert(id.to_owned()), "{id} is there twice");
                    for parameter in operation["parameters"].as_array().into_iter().flatten() {
                        assert_ne!(parameter["description"], "", "{path}: {parameter}");
                    }
                } else {
                    assert_eq!(method, "servers", "{path}");
                }
            }
        }
        let routes = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path));
        let token = ["GET /token", "POST /token", "GET /.well-known/jwks.json"].map(str::to_owned);
        assert_eq!(found, routes.chain(token).collect());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            if let Some(target) = value.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{target}");
            }
            match value {
                Value::Object(fields) => fields.values().for_each(|value| walk(value, document)),
                Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
                _ => {}
            }
        }
        let document = openapi();
        walk(&document, &document);
        assert!(document["components"]["schemas"].as_object().unwrap().len() > 20);
    }

    #[test]
    fn the_committed_copy_is_not_stale() {
        let committed: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
        assert!(
            committed == openapi(),
            "docs/openapi.json is stale: cargo run -p http-admin --example openapi > docs/openapi.json"
        );
    }

    #[test]
    fn the_manual_has_every_route_with_its_permission() {
        let manual = include_str!("../../../docs/admin-api.md");
        for route in ROUTES {
            let row = format!(
                "| `{} {}` | {} | {} |",
                route.method,
                route.path,
                route.summary,
                route.permission.marked()
            );
            assert!(manual.contains(&row), "docs/admin-api.md lacks this row:\n{row}");
        }
        let rows = manual.lines().filter(|line| line.matches('|').count() == 4 && line.starts_with("| `"));
        let methods = ["GET /", "POST /", "PUT /", "PATCH /", "DELETE /"];
        let routes = rows.filter(|row| methods.iter().any(|method| row[3..].starts_with(method)));
        assert_eq!(routes.count(), ROUTES.len(), "docs/admin-api.md has a row of a route that is not there");
    }
}
