//! The files in which `docker login` and `podman login` keep credentials.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::credential::{Credential, Secret};
use crate::Host;

/// The most bytes of a file that is read.
const SIZE: u64 = 1 << 20;

/// Both tools write padding; other writers of the same files do not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a file of credentials cannot be used. No secret is in the message.
#[derive(Debug, thiserror::Error)]
pub enum AuthFileError {
    /// It cannot be read.
    #[error("the credentials in {path} cannot be read: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It cannot be written.
    #[error("the credentials in {path} cannot be written: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is larger than such a file can be.
    #[error("{0} is larger than 1 MiB, which no file of credentials is")]
    TooLarge(PathBuf),
    /// It is not JSON of the right form.
    #[error("{path} is not a file of credentials (line {line}): log in again, or mend the file")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        line: usize,
    },
    /// An entry is malformed.
    #[error("the entry for {key} in {path} is malformed: log in to that registry again")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which entry.
        key: String,
    },
}

/// What such a file says. What else is in it is nobody's business here.
#[derive(Default, Deserialize)]
pub(crate) struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Where a file says that the credential is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// In the file.
    Here(Credential),
    /// With the program `docker-credential-<name>`, under this key.
    Helper {
        /// The program's name.
        name: String,
        /// What to ask it for.
        server: String,
    },
}

/// Who is to keep the credential of a registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The file, under this key.
    Here {
        /// As it is written in the file.
        key: String,
    },
    /// The program `docker-credential-<name>`.
    Helper {
        /// The program's name.
        name: String,
        /// What it calls the registry.
        server: String,
        /// Whether the file has an empty entry for what it keeps.
        is_listed: bool,
    },
}

/// The bytes of a file, nothing where there is none.
pub(super) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, AuthFileError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > SIZE => return Err(AuthFileError::TooLarge(path.to_owned())),
        _ => {}
    }
    let bytes = std::fs::read(path);
    bytes.map(Some).map_err(|error| AuthFileError::Read { path: path.to_owned(), error })
}

impl AuthFile {
    /// Reads a file. One that does not exist is empty.
    pub fn read(path: PathBuf) -> Result<Self, AuthFileError> {
        match read_bytes(&path)? {
            Some(bytes) => Self::parse(&bytes, path),
            None => Ok(Self::default()),
        }
    }

    pub(crate) fn parse(bytes: &[u8], path: PathBuf) -> Result<Self, AuthFileError> {
        match serde_json::from_slice::<Self>(bytes) {
            Ok(file) => Ok(Self { path, ..file }),
            // The parser's own message would quote the file.
            Err(error) => Err(AuthFileError::Json { path, line: error.line() }),
        }
    }

    /// The credential for a repository: the longest key that it lies under wins, as podman has it.
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Found>, AuthFileError> {
        let keys = keys(host, repository);
        for key in &keys {
            if let Some((server, name)) = self.helpers.iter().find(|(server, _)| normal(server) == *key) {
                return Ok(Some(Found::Helper { name: name.clone(), server: server.clone() }));
            }
            if let Some((written, entry)) = self.auths.iter().find(|(written, _)| normal(written) == *key)
                && let Some(credential) = self.credential(written, entry)?
            {
                return Ok(Some(Found::Here(credential)));
            }
        }
        // With a store, `auths` has only empty entries that say what the store knows.
        Ok(self.store.clone().filter(|name| !name.is_empty()).map(|name| {
            let written = self.auths.keys().find(|written| keys.contains(&normal(written)));
            Found::Helper { name, server: written.cloned().unwrap_or_else(|| host.to_owned()) }
        }))
    }

    /// Who keeps the credential of a registry, where the file says anything of it. Entries need not be well formed:
    /// they are about to be replaced.
    pub fn keeper(&self, host: &Host) -> Option<Keeper> {
        let own = self.helpers.iter().find(|(server, _)| normal(server) == host.as_str());
        if let Some((server, name)) = own {
            return Some(Keeper::Helper { name: name.clone(), server: server.clone(), is_listed: false });
        }
        let written = self.keys_of(host).into_iter().next();
        match self.store.clone().filter(|name| !name.is_empty()) {
            Some(name) => {
                let server = written.unwrap_or_else(|| key_for(host));
                Some(Keeper::Helper { name, server, is_listed: true })
            }
            None => written.map(|key| Keeper::Here { key }),
        }
    }

    /// The keys of a registry as a whole, as they are written.
    pub fn keys_of(&self, host: &Host) -> Vec<String> {
        self.auths.keys().filter(|written| normal(written) == host.as_str()).cloned().collect()
    }

    fn credential(&self, key: &str, entry: &Entry) -> Result<Option<Credential>, AuthFileError> {
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(entry.identitytoken.clone()))));
        }
        if !entry.registrytoken.is_empty() {
            return Ok(Some(Credential::Registry(Secret::new(entry.registrytoken.clone()))));
        }
        if !entry.auth.is_empty() {
            let malformed = || AuthFileError::Entry { path: self.path.clone(), key: key.to_owned() };
            return decode(&entry.auth).ok_or_else(malformed).map(Some);
        }
        let complete = !entry.username.is_empty() && !entry.password.is_empty();
        Ok(complete.then(|| Credential::password(entry.username.clone(), entry.password.clone())))
    }
}

/// `auth` is base64 of `name:password`; some old files end it with zero bytes.
fn decode(auth: &str) -> Option<Credential> {
    let bytes = LENIENT.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.trim_end_matches('\0').split_once(':')?;
    Some(Credential::password(username.to_owned(), password.to_owned()))
}

/// The key of a registry in docker's file.
pub(super) fn key_for(host: &Host) -> String {
    if host.is_docker_hub() { "https://index.docker.io/v1/".into() } else { host.to_string() }
}

/// The keys that a repository lies under, the longest first: `host/a/b`, `host/a`, `host`.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut key = format!("{host}/{repository}");
    let mut keys = vec![key.clone()];
    while let Some(at) = key.rfind('/') {
        key.truncate(at);
        keys.push(key.clone());
    }
    keys
}

/// A key as it is compared. Docker writes addresses such as `https://index.docker.io/v1/`, of which only the
/// host counts; without a scheme the path counts.
fn normal(written: &str) -> String {
    let without = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://"));
    let key = match without {
        Some(address) => address.split('/').next().unwrap_or_default(),
        None => written.trim_end_matches('/'),
    };
    let (host, path) = key.split_once('/').map_or((key, None), |(host, path)| (host, Some(path)));
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        _ => &host,
    };
    path.map_or_else(|| host.to_owned(), |path| format!("{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<AuthFile, AuthFileError> {
        AuthFile::parse(text.as_bytes(), "auth.json".into())
    }

    /// The name of the user that is found, or `helper server` for a helper.
    fn find(file: &str, host: &str, repository: &str) -> Option<String> {
        match parse(file).unwrap().find(host, repository).unwrap()? {
            Found::Here(Credential::Password { username, .. }) => Some(username),
            Found::Here(Credential::Identity(_)) => Some("<identity>".into()),
            Found::Here(Credential::Registry(_)) => Some("<registry>".into()),
            Found::Helper { name, server } => Some(format!("{name} {server}")),
        }
    }

    #[test]
    fn a_file_says_who_keeps_a_credential() {
        let check = |file: &str, host: &str, expect: Option<Keeper>| {
            assert_eq!(parse(file).unwrap().keeper(&host.parse().unwrap()), expect, "{file} {host}");
        };
        let here = |key: &str| Some(Keeper::Here { key: key.into() });
        let helper = |server: &str, is_listed| {
            Some(Keeper::Helper { name: "x".into(), server: server.into(), is_listed })
        };
        check("{}", "h:5000", None);
        check(r#"{"auths":{"h:5000/team":{}}}"#, "h:5000", None);
        check(r#"{"auths":{"https://h:5000/":{"auth":"broken"}}}"#, "h:5000", here("https://h:5000/"));
        check(r#"{"credHelpers":{"h:5000":"x"},"credsStore":"y"}"#, "h:5000", helper("h:5000", false));
        check(r#"{"credsStore":"x"}"#, "h:5000", helper("h:5000", true));
        check(r#"{"credsStore":"x"}"#, "docker.io", helper("https://index.docker.io/v1/", true));
        check(r#"{"credsStore":"x","auths":{"docker.io":{}}}"#, "docker.io", helper("docker.io", true));
    }

    fn auth(name: &str) -> String {
        format!(r#"{{"auth":"{}"}}"#, LENIENT.encode(format!("{name}:p:w")))
    }

    #[test]
    fn the_longest_key_wins() {
        let (a, b, c, d) = (auth("host"), auth("team"), auth("app"), auth("hub"));
        let file = format!(
            r#"{{"auths":{{"h:5000":{a},"h:5000/team":{b},"h:5000/team/app":{c},"https://index.docker.io/v1/":{d},
                "old.example.com/":{a},"https://Full.example.com/v2/":{b}}}}}"#
        );
        let check = |host, repository, expect: Option<&str>| {
            assert_eq!(find(&file, host, repository).as_deref(), expect, "{host} {repository}");
        };
        check("h:5000", "team/app", Some("app"));
        check("h:5000", "team/app/deep", Some("app"));
        check("h:5000", "team/apple", Some("team"));
        check("h:5000", "other", Some("host"));
        check("docker.io", "library/alpine", Some("hub"));
        check("old.example.com", "a", Some("host"));
        check("full.example.com", "a", Some("team"));
        check("h", "team/app", None);
        check("example.com", "a", None);
    }

    #[test]
    fn helpers_and_tokens_are_found() {
        let file = format!(
            r#"{{"auths":{{"a":{{"identitytoken":"t"}},"b":{{"registrytoken":"t"}},"d":{{"username":"u","password":"p"}},
                "https://s/v1/":{{}},"h":{}}},"credHelpers":{{"h":"one"}},"credsStore":"all"}}"#,
            auth("hidden")
        );
        let check =
            |host, expect: &str| assert_eq!(find(&file, host, "r").as_deref(), Some(expect), "{host}");
        check("a", "<identity>");
        check("b", "<registry>");
        check("d", "u");
        check("h", "one h");
        check("s", "all https://s/v1/");
        check("elsewhere", "all elsewhere");
    }

    #[test]
    fn damaged_files_say_where_and_show_nothing() {
        let error = parse("{\n\"auths\": {\"h\": \"secret\"}}").map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("auth.json") && error.contains("line 2") && !error.contains("secret"),
            "{error}"
        );
        let file = parse(r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#).unwrap();
        let error = file.find("h", "r").unwrap_err().to_string();
        assert!(
            error.contains("auth.json") && !error.contains("c2Vj") && !error.contains("secret"),
            "{error}"
        );
        assert!(parse("{}").unwrap().find("h", "r").unwrap().is_none());
    }

    #[test]
    fn the_password_may_hold_colons_and_the_padding_may_be_absent() {
        for encoded in ["dTpwOnc=", "dTpwOnc", "dTpwOncA"] {
            assert_eq!(decode(encoded), Some(Credential::password("u".into(), "p:w".into())), "{encoded}");
        }
        for bad in ["", "!", "dQ==", "/w=="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes: Vec<u8>, auth in "[A-Za-z0-9+/=]{0,20}", key in "\\PC{0,20}") {
            parse(&String::from_utf8_lossy(&bytes)).ok();
            let file = serde_json::json!({"auths": {key.clone(): {"auth": auth}}, "credHelpers": {"x": key}});
            let file = parse(&file.to_string()).unwrap();
            file.find("x", "y/z").ok();
            file.find(&key, "y/z").ok();
        }
    }
}
