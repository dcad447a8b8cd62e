//! A registry of a few lines over real sockets, for faults that no real one makes on request.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod http;
pub mod registry;

use std::sync::Arc;
use std::time::Duration;

use client::{ImageRef, Keyring, Repository, Settings};
use transfer::{Options, Retry, Silent, Source, TransferError};

/// Short pauses: tests wait for nobody.
pub fn retry() -> Retry {
    Retry { failures: 4, first: Duration::from_millis(1), longest: Duration::from_millis(5) }
}

/// Settings without credentials.
pub fn settings() -> Settings {
    Settings { keyring: Keyring::empty(), retry: retry(), ..Settings::default() }
}

/// Settings with a file of credentials for these hosts.
pub fn settings_with(folder: &std::path::Path, host: &str, credential: &str) -> Settings {
    let file = folder.join("auth.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{host}":{credential}}}}}"#))
        .expect("a file can be written");
    Settings { keyring: Keyring::of(vec![file]), ..settings() }
}

/// Opens a repository of the registry at `host`.
pub fn open(host: &str, name: &str, settings: &Settings) -> Arc<Repository> {
    let image: ImageRef = format!("{host}/{name}").parse().expect("a reference");
    Arc::new(Repository::open(&image.host, &image.repository, settings).expect("settings are good"))
}

/// Copies the tag `v1` from one repository to another.
pub async fn copy(from: Arc<Repository>, to: Arc<Repository>) -> Result<transfer::Report, TransferError> {
    let tag = "v1".parse().expect("a tag");
    let root = from.resolve(Some(&oci::Reference::Tag(tag))).await?;
    let tags = vec!["v1".parse().expect("a tag")];
    let options = Options { tags, retry: retry(), ..Options::default() };
    transfer::copy_graph(from, to, root, &options, Arc::new(Silent)).await
}
