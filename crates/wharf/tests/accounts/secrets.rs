//! The secret of a robot as others take it: read back, and used for a pull.

use serde_json::Value;

use crate::{Person, assert_says, server};

/// A person whose only credentials are in this file.
fn holder(server: &test_kit::WharfServer, config: &str) -> Person {
    let person = Person::new(server);
    std::fs::create_dir(person.home.path().join(".docker")).unwrap();
    std::fs::write(person.credentials(), config).unwrap();
    person
}

/// The text at a key of a YAML document, where it is a plain one in quotes.
fn quoted<'a>(yaml: &'a str, key: &str) -> &'a str {
    let line = yaml.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": \""));
    line.and_then(|rest| rest.strip_suffix('"')).unwrap_or_else(|| panic!("no {key} in\n{yaml}"))
}

#[test]
fn kubernetes_can_pull_with_it() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    admin.push("team/app").run();

    let yaml = admin.says("secret k8s HOST ci --project team --create --name pull --namespace apps");
    assert_says(&yaml, "type: \"kubernetes.io/dockerconfigjson\"");
    assert_eq!((quoted(&yaml, "name"), quoted(&yaml, "namespace")), ("pull", "apps"));
    let config = String::from_utf8(decode(quoted(&yaml, "\".dockerconfigjson\""))).unwrap();
    holder(&server, &config).pull("team/app").run();

    // Kubernetes takes JSON, too. The secret before stays good for a day.
    let secret = admin.wharf("secret k8s HOST ci --project team --rotate --json").run().json();
    let rotated = decode(secret["data"][".dockerconfigjson"].as_str().unwrap());
    holder(&server, std::str::from_utf8(&rotated).unwrap()).pull("team/app").run();
    holder(&server, &config).pull("team/app").run();
}

#[test]
fn docker_and_jenkins_get_what_is_piped_in() {
    let server = server();
    let admin = Person::admin(&server);
    admin.says("project create HOST team");
    admin.push("team/app").run();
    let secret = admin.says("robot create HOST ci --project team");
    let pipe = |line: &str| admin.wharf(line).stdin(secret.clone()).run().stdout;

    let config = pipe("secret docker HOST ci --project team --secret-stdin");
    let holder = holder(&server, &config);
    holder.pull("team/app").run();
    let target = format!("docker://{}/team/app:v1", holder.host);
    holder.program("skopeo").args(["inspect", "--tls-verify=false", &target]).run();

    let yaml = pipe("secret jenkins HOST ci --project team --secret-stdin --name registry-ci");
    assert_eq!(quoted(&yaml, "\"id\""), "registry-ci");
    assert_eq!((quoted(&yaml, "username"), quoted(&yaml, "password")), ("robot$team+ci", &*secret));
    let json = pipe("secret jenkins HOST ci --project team --secret-stdin --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    let domain = &json["credentials"]["system"]["domainCredentials"][0];
    assert_eq!(domain["credentials"][0]["usernamePassword"]["password"], secret);
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("it is base64")
}
