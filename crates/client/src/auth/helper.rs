//! The programs `docker-credential-<name>`, which keep credentials in the keyring of a desktop and the like.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::credential::{Credential, Secret};
use super::keyring::KeyringError;
use crate::host::shorten;

/// How long a credential program may take: it may ask its user.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that a credential program may say.
const ANSWER: u64 = 64 << 10;

/// Asks `docker-credential-<name> get` for the credential of a server.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credential>, KeyringError> {
    // Helpers end with a failure, and a sentence, where they know nothing of the server.
    let Some(answer) = call(name, "get", server.as_bytes()).await? else { return Ok(None) };
    read_answer(&answer)
        .ok_or_else(|| failed(name, "its answer is not the JSON that such helpers give".into()))
}

/// Hands it the credential of a server.
pub(super) async fn store(
    name: &str,
    server: &str,
    username: &str,
    password: &Secret,
) -> Result<(), KeyringError> {
    let entry = json!({"ServerURL": server, "Username": username, "Secret": password.expose()}).to_string();
    let done = call(name, "store", entry.as_bytes()).await?;
    done.map(drop).ok_or_else(|| failed(name, "it does not store the credential".into()))
}

/// Has it forget the credential of a server. False where it knows none.
pub(super) async fn erase(name: &str, server: &str) -> Result<bool, KeyringError> {
    if get(name, server).await?.is_none() {
        return Ok(false);
    }
    let done = call(name, "erase", server.as_bytes()).await?;
    done.map(|_| true).ok_or_else(|| failed(name, "it does not erase the credential".into()))
}

fn failed(name: &str, reason: String) -> KeyringError {
    KeyringError::Helper { name: name.to_owned(), reason }
}

/// What the helper prints, or nothing where it ends with a failure.
async fn call(name: &str, verb: &str, input: &[u8]) -> Result<Option<Vec<u8>>, KeyringError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(plain) {
        return Err(KeyringError::HelperName(shorten(name)));
    }
    tokio::time::timeout(PATIENCE, run(name, verb, input))
        .await
        .map_err(|_| failed(name, format!("it gave no answer within {} seconds", PATIENCE.as_secs())))?
        .map_err(|error| failed(name, error.to_string()))
}

async fn run(name: &str, verb: &str, input: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input).await {
            // One that needs no input may end without reading it: how it ends tells whether that was wrong.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            outcome => outcome?,
        }
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER).read_to_end(&mut answer).await?;
    }
    Ok(child.wait().await?.success().then_some(answer))
}

/// `None` where the answer is malformed, `Some(None)` where it holds no credential.
fn read_answer(answer: &[u8]) -> Option<Option<Credential>> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Username", default)]
        username: String,
        #[serde(rename = "Secret", default)]
        secret: String,
    }
    let Answer { username, secret } = serde_json::from_slice(answer).ok()?;
    Some(match username.as_str() {
        _ if secret.is_empty() => None,
        "<token>" => Some(Credential::Identity(Secret::new(secret))),
        _ => Some(Credential::password(username, secret)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_helpers_are_read() {
        let check = |answer: &str, expect: Option<Option<Credential>>| {
            assert_eq!(read_answer(answer.as_bytes()), expect, "{answer}");
        };
        check(
            r#"{"ServerURL":"h","Username":"u","Secret":"p"}"#,
            Some(Some(Credential::password("u".into(), "p".into()))),
        );
        check(
            r#"{"Username":"<token>","Secret":"p"}"#,
            Some(Some(Credential::Identity(Secret::new("p".into())))),
        );
        check(r#"{"Username":"","Secret":""}"#, Some(None));
        check("credentials not found", None);
    }

    #[tokio::test]
    async fn only_plain_names_are_run() {
        for name in ["", "../x", "a b", "a/b", "a;b"] {
            assert!(matches!(get(name, "h").await, Err(KeyringError::HelperName(_))), "{name}");
        }
        let absent = get("wharf-test-does-not-exist", "h").await;
        assert!(matches!(absent, Err(KeyringError::Helper { .. })), "{absent:?}");
    }
}
