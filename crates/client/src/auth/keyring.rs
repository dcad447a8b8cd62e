//! Where credentials are looked for: the files of podman and docker, and the programs that they name.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use oci::RepoName;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::credential::{Credential, Secret};
use super::file::{AuthFile, AuthFileError, Found};
use crate::Host;
use crate::host::shorten;

/// How long a credential program may take: it may ask its user.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most that a credential program may say.
const ANSWER: u64 = 64 << 10;

/// Why no credential can be had. No secret is in the message.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file is unusable.
    #[error(transparent)]
    File(#[from] AuthFileError),
    /// A file names a program with a path in it, or the like.
    #[error("`{0}` is not the name of a credential helper: mend credHelpers or credsStore in your auth file")]
    HelperName(String),
    /// A program failed.
    #[error("the credential helper docker-credential-{name} failed: {reason}")]
    Helper {
        /// Its name.
        name: String,
        /// What happened.
        reason: String,
    },
}

/// The files that may hold credentials, in the order in which they count.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    files: Vec<PathBuf>,
}

impl Keyring {
    /// No credentials at all.
    pub const fn empty() -> Self {
        Self { files: Vec::new() }
    }

    /// Exactly these files.
    pub const fn of(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    /// The files that podman and docker use on this machine: `$REGISTRY_AUTH_FILE` alone where it is set, else
    /// podman's in the run folder and at home, and then docker's.
    pub fn of_this_user() -> Self {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self { files: vec![file] };
        }
        let home = std::env::home_dir();
        let run = variable("XDG_RUNTIME_DIR").or_else(run_folder);
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
        let podman = [run, config].into_iter().flatten().map(|folder| folder.join("containers/auth.json"));
        Self { files: podman.chain(docker.map(|folder| folder.join("config.json"))).collect() }
    }

    /// The credential for a repository, if there is one.
    pub async fn find(
        &self,
        host: &Host,
        repository: Option<&RepoName>,
    ) -> Result<Option<Credential>, KeyringError> {
        let repository = repository.map_or("", RepoName::as_str);
        for path in &self.files {
            match AuthFile::read(path.clone())?.find(host.as_str(), repository)? {
                Some(Found::Here(credential)) => return Ok(Some(credential)),
                Some(Found::Helper { name, server }) => {
                    if let Some(credential) = ask(&name, &server).await? {
                        return Ok(Some(credential));
                    }
                }
                None => {}
            }
        }
        Ok(None)
    }
}

/// Podman's run folder where the session has none: named after the user who runs this process.
fn run_folder() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    Some(PathBuf::from(format!("/run/containers/{user}")))
}

/// Asks `docker-credential-<name> get` for the credential of a server.
async fn ask(name: &str, server: &str) -> Result<Option<Credential>, KeyringError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(plain) {
        return Err(KeyringError::HelperName(shorten(name)));
    }
    let failed = |reason: String| KeyringError::Helper { name: name.to_owned(), reason };
    let answer = tokio::time::timeout(PATIENCE, run(name, server))
        .await
        .map_err(|_| failed(format!("it gave no answer within {} seconds", PATIENCE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    let Some(answer) = answer else { return Ok(None) };
    read_answer(&answer).ok_or_else(|| failed("its answer is not the JSON that such helpers give".into()))
}

/// What the helper prints, or nothing where it says that it knows no such server.
async fn run(name: &str, server: &str) -> std::io::Result<Option<Vec<u8>>> {
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).await?;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER).read_to_end(&mut answer).await?;
    }
    // Helpers end with a failure, and a sentence, where they know nothing of the server.
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
            assert!(matches!(ask(name, "h").await, Err(KeyringError::HelperName(_))), "{name}");
        }
        let absent = ask("wharf-test-does-not-exist", "h").await;
        assert!(matches!(absent, Err(KeyringError::Helper { .. })), "{absent:?}");
    }
}
