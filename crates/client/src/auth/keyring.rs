//! Where credentials are looked for: the files of podman and docker, and the programs that they name.

use std::fmt;
use std::path::PathBuf;

use oci::RepoName;

use super::credential::{Credential, Secret};
use super::file::{AuthFile, AuthFileError, Found, Keeper, key_for, read_bytes};
use super::{edit, helper};
use crate::Host;

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
    /// A file that is to hold a password holds none.
    #[error("there is no password in {0}: write it there, as a text of one line")]
    NoPassword(PathBuf),
    /// There is nowhere to keep a credential.
    #[error("there is no place for credentials: set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE")]
    NoPlace,
}

/// Where a credential was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file, as it is.
    File(PathBuf),
    /// With the program `docker-credential-<name>`.
    Helper(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Helper(name) => write!(f, "docker-credential-{name}"),
        }
    }
}

/// The files that may hold credentials, in the order in which they count; or one credential for all.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    files: Vec<PathBuf>,
    one: Option<One>,
}

/// One credential for all registries.
#[derive(Clone, Debug)]
enum One {
    Fixed(Credential),
    /// A name, and the file that holds the password: read when it is needed, so that another password counts at once.
    File {
        username: String,
        path: PathBuf,
    },
}

impl One {
    fn read(&self) -> Result<Credential, KeyringError> {
        let (username, path) = match self {
            Self::Fixed(credential) => return Ok(credential.clone()),
            Self::File { username, path } => (username.clone(), path),
        };
        let bytes = read_bytes(path)?.ok_or_else(|| KeyringError::NoPassword(path.clone()))?;
        let text = String::from_utf8(bytes).map_err(|_| KeyringError::NoPassword(path.clone()))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(KeyringError::NoPassword(path.clone()));
        }
        Ok(Credential::Password { username, password: Secret::new(password.to_owned()) })
    }
}

impl Keyring {
    /// No credentials at all.
    pub const fn empty() -> Self {
        Self { files: Vec::new(), one: None }
    }

    /// Exactly these files.
    pub const fn of(files: Vec<PathBuf>) -> Self {
        Self { files, one: None }
    }

    /// This credential, whatever the registry.
    pub const fn fixed(credential: Credential) -> Self {
        Self { files: Vec::new(), one: Some(One::Fixed(credential)) }
    }

    /// This name with the password that a file holds, whatever the registry. The file is read whenever the password is
    /// needed, and can hold another one the next time.
    ///
    /// Fails where it holds none now.
    pub fn file(username: String, path: PathBuf) -> Result<Self, KeyringError> {
        let one = One::File { username, path };
        one.read()?;
        Ok(Self { files: Vec::new(), one: Some(one) })
    }

    /// The files that podman and docker use on this machine: `$REGISTRY_AUTH_FILE` alone where it is set, else
    /// podman's in the run folder and at home, and then docker's.
    pub fn of_this_user() -> Self {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self::of(vec![file]);
        }
        let home = std::env::home_dir();
        let run = variable("XDG_RUNTIME_DIR").or_else(run_folder);
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
        let podman = [run, config].into_iter().flatten().map(|folder| folder.join("containers/auth.json"));
        Self::of(podman.chain(docker.map(|folder| folder.join("config.json"))).collect())
    }

    /// The credential for a repository, if there is one.
    pub async fn find(
        &self,
        host: &Host,
        repository: Option<&RepoName>,
    ) -> Result<Option<Credential>, KeyringError> {
        if let Some(one) = &self.one {
            return one.read().map(Some);
        }
        let repository = repository.map_or("", RepoName::as_str);
        for path in &self.files {
            match AuthFile::read(path.clone())?.find(host.as_str(), repository)? {
                Some(Found::Here(credential)) => return Ok(Some(credential)),
                Some(Found::Helper { name, server }) => {
                    if let Some(credential) = helper::get(&name, &server).await? {
                        return Ok(Some(credential));
                    }
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// Keeps a name and password for a registry: where something is kept for it already, or else in the last file,
    /// which is docker's. A helper that the file names keeps it in the file's place.
    pub async fn store(&self, host: &Host, username: &str, password: &Secret) -> Result<Place, KeyringError> {
        let (path, keeper) = self.keeper(host)?;
        match keeper {
            Keeper::Here { key } => {
                edit::put(&path, &key, username, password)?;
                Ok(Place::File(path))
            }
            Keeper::Helper { name, server, is_listed } => {
                helper::store(&name, &server, username, password).await?;
                // What only the store knows, the file lists without its secret.
                if is_listed {
                    edit::list(&path, &server)?;
                }
                Ok(Place::Helper(name))
            }
        }
    }

    /// Forgets what is kept for a registry, in every file and with every helper. False where nothing was.
    pub async fn erase(&self, host: &Host) -> Result<bool, KeyringError> {
        let mut found = false;
        for path in &self.files {
            let file = AuthFile::read(path.clone())?;
            if let Some(Keeper::Helper { name, server, .. }) = file.keeper(host) {
                found |= helper::erase(&name, &server).await?;
            }
            for key in file.keys_of(host) {
                found |= edit::remove(path, &key)?;
            }
        }
        Ok(found)
    }

    /// The file that a credential goes to, and who keeps it there.
    fn keeper(&self, host: &Host) -> Result<(PathBuf, Keeper), KeyringError> {
        for path in &self.files {
            if let Some(keeper) = AuthFile::read(path.clone())?.keeper(host) {
                return Ok((path.clone(), keeper));
            }
        }
        let last = self.files.last().cloned().ok_or(KeyringError::NoPlace)?;
        Ok((last, Keeper::Here { key: key_for(host) }))
    }
}

/// Podman's run folder where the session has none: named after the user who runs this process.
fn run_folder() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    Some(PathBuf::from(format!("/run/containers/{user}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_read_from_its_file_whenever_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let host: Host = "registry.example.com".parse().unwrap();
        let keyring = || Keyring::file("ann".into(), path.clone());
        assert!(matches!(keyring(), Err(KeyringError::NoPassword(_))), "there is no file");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(keyring(), Err(KeyringError::NoPassword(_))), "there is no password");
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(keyring(), Err(KeyringError::NoPassword(_))), "it is no text");
        std::fs::write(&path, "first\r\n").unwrap();
        let keyring = keyring().unwrap();
        for password in ["first", "second"] {
            std::fs::write(&path, format!("{password}\n")).unwrap();
            let found = keyring.find(&host, None).await.unwrap();
            let expect = Credential::password("ann".into(), password.into());
            assert_eq!(found, Some(expect));
        }
        assert!(!format!("{keyring:?}").contains("second"));
    }
}
