//! `wharf secret`: the secret of a robot as Kubernetes, docker and Jenkins take it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::Host;
use serde_json::{Map, Value, json};

use super::session::{Path, Session};
use super::{robots, terminal, yaml};
use crate::args::accounts::{JenkinsFlags, K8sFlags, OneRobot, SecretCommand, SecretFlags, SecretOrigin};
use crate::out::Out;

pub(super) async fn run(command: SecretCommand, out: &mut Out) -> Result<()> {
    match command {
        SecretCommand::K8s(flags) => k8s(&flags, out).await,
        SecretCommand::Docker(flags) => docker(&flags, out).await,
        SecretCommand::Jenkins(flags) => jenkins(&flags, out).await,
    }
}

/// What a robot signs in with.
struct Login {
    host: Host,
    user: String,
    secret: String,
}

/// Gets the secret: the registry shows it only when it is new.
async fn login(flags: &SecretFlags) -> Result<Login> {
    let robot = &flags.robot;
    let secret = match &flags.origin {
        SecretOrigin { secret_stdin: true, .. } => {
            terminal::lines::<1>("the secret, on one line").await?.concat()
        }
        SecretOrigin { create: true, .. } => {
            made(robot, &robots::all(robot), json!({"name": robot.name})).await?
        }
        _ => made(robot, &robots::path(robot).and(&["rotate"]), Value::Null).await?,
    };
    Ok(Login { host: robot.session.host.clone(), user: robots::full_name(robot), secret })
}

/// A secret that the registry makes when asked so.
async fn made(robot: &OneRobot, path: &Path, body: Value) -> Result<String> {
    let answer = Session::open(&robot.session)?.send("POST", path, body).await?;
    answer["secret"].as_str().map(str::to_owned).context("the answer has no secret")
}

async fn k8s(flags: &K8sFlags, out: &mut Out) -> Result<()> {
    let login = login(&flags.secret).await?;
    let secret = k8s_secret(&login, &flags.name, flags.namespace.as_deref());
    print(out, flags.secret.robot.session.json, &secret)
}

async fn docker(flags: &SecretFlags, out: &mut Out) -> Result<()> {
    let config = docker_config(&login(flags).await?);
    // The file is JSON anyway; this way it is easier to read.
    out.line(if flags.robot.session.json { config.to_string() } else { format!("{config:#}") })
}

async fn jenkins(flags: &JenkinsFlags, out: &mut Out) -> Result<()> {
    let login = login(&flags.secret).await?;
    let json = flags.secret.robot.session.json;
    if !json {
        let (host, id) = (&login.host, &flags.name);
        out.line(format_args!("# In a pipeline: docker.withRegistry('https://{host}', '{id}') {{ ... }}"))?;
    }
    print(out, json, &jenkins_credential(&login, &flags.name))
}

fn print(out: &mut Out, json: bool, value: &Value) -> Result<()> {
    if json { out.line(value) } else { out.bytes(yaml::document(value).as_bytes()) }
}

/// The file in which docker keeps credentials.
fn docker_config(login: &Login) -> Value {
    let Login { host, user, secret } = login;
    let auth = STANDARD.encode(format!("{user}:{secret}"));
    json!({"auths": {(host.as_str()): {"auth": auth}}})
}

/// Kubernetes' own wrapping of that file.
fn k8s_secret(login: &Login, name: &str, namespace: Option<&str>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), name.into());
    if let Some(namespace) = namespace {
        metadata.insert("namespace".into(), namespace.into());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": STANDARD.encode(docker_config(login).to_string())},
    })
}

/// A credential of the plugin Configuration as Code.
fn jenkins_credential(login: &Login, id: &str) -> Value {
    let Login { host, user, secret } = login;
    let credential = json!({
        "scope": "GLOBAL",
        "id": id,
        "description": literal(&format!("{user} at {host}")),
        "username": literal(user),
        "password": literal(secret),
    });
    json!({"credentials": {"system": {"domainCredentials": [
        {"credentials": [{"usernamePassword": credential}]},
    ]}}})
}

/// The plugin puts variables in the place of `${...}`, unless told that it is meant so.
fn literal(text: &str) -> String {
    text.replace("${", "^${")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn robot(secret: &str) -> Login {
        Login { host: "h.example:5000".parse().unwrap(), user: "robot$team+ci".into(), secret: secret.into() }
    }

    #[test]
    fn kubernetes_gets_a_secret() {
        let secret = k8s_secret(&robot("s"), "pull", Some("apps"));
        let expect = "\
apiVersion: \"v1\"
data:
  \".dockerconfigjson\": \"eyJhdXRocyI6eyJoLmV4YW1wbGU6NTAwMCI6eyJhdXRoIjoiY205aWIzUWtkR1ZoYlN0amFUcHoifX19\"
kind: \"Secret\"
metadata:
  name: \"pull\"
  namespace: \"apps\"
type: \"kubernetes.io/dockerconfigjson\"
";
        assert_eq!(yaml::document(&secret), expect);
        assert_eq!(k8s_secret(&robot("s"), "pull", None)["metadata"], json!({"name": "pull"}));
    }

    #[test]
    fn docker_gets_its_file() {
        let config = docker_config(&robot("s"));
        assert_eq!(config, json!({"auths": {"h.example:5000": {"auth": "cm9ib3QkdGVhbStjaTpz"}}}));
    }

    #[test]
    fn jenkins_gets_a_credential() {
        let expect = "\
credentials:
  system:
    domainCredentials:
      - credentials:
          - usernamePassword:
              description: \"robot$team+ci at h.example:5000\"
              \"id\": \"ci\"
              password: \"a\\\"^${b}\"
              scope: \"GLOBAL\"
              username: \"robot$team+ci\"
";
        assert_eq!(yaml::document(&jenkins_credential(&robot("a\"${b}"), "ci")), expect);
    }
}
