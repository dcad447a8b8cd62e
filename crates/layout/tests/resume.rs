//! Copies that were broken off, damaged or pointed at the wrong folder.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Maker, copy, copy_from, end, names};
use futures_util::future::BoxFuture;
use oci::{Descriptor, Digest, Reference};
use transfer::{ByteStream, Options, Source, TransferError};

/// A source that notes where its blobs are opened.
struct Watched {
    inner: Arc<dyn Source>,
    opened: Mutex<Vec<(Digest, u64)>>,
}

impl Source for Watched {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn resolve<'a>(
        &'a self,
        reference: Option<&'a Reference>,
    ) -> BoxFuture<'a, Result<Descriptor, TransferError>> {
        self.inner.resolve(reference)
    }

    fn manifest<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Bytes, TransferError>> {
        self.inner.manifest(descriptor)
    }

    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        offset: u64,
    ) -> BoxFuture<'a, Result<ByteStream, TransferError>> {
        self.opened.lock().unwrap().push((descriptor.digest, offset));
        self.inner.blob(descriptor, offset)
    }

    fn referrers<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, TransferError>> {
        self.inner.referrers(digest)
    }
}

/// A layer of some size, no two parts of it equal.
fn layer() -> Vec<u8> {
    (0..1_000_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

fn image(folder: &Path) {
    let root = Maker(folder).image("amd64", &[&layer()], None);
    Maker(folder).finish(&[&root]);
}

#[tokio::test]
async fn a_broken_copy_goes_on_where_it_stopped() {
    let digest = Digest::sha256(&layer());
    let check = async |kind: &str, partial: String, left: Vec<u8>, expect: &[u64]| {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        image(&at("from"));
        std::fs::create_dir_all(at("to/.partial")).unwrap();
        std::fs::write(at("to").join(&partial), left).unwrap();
        let (marker, text) = match kind {
            "oci" => ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            _ => ("version", "Directory Transport Version: 1.1\n"),
        };
        std::fs::write(at("to").join(marker), text).unwrap();
        let from = end(format!("oci:{}", at("from").display()));
        let to = end(format!("{kind}:{}", at("to").display()));
        let source = Arc::new(Watched { inner: from.source().await.unwrap(), opened: Mutex::default() });
        copy_from(source.clone(), &from, &to, Options::default()).await.unwrap();
        let opened = source.opened.lock().unwrap();
        let offsets: Vec<u64> =
            opened.iter().filter(|(which, _)| *which == digest).map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, expect, "{kind} {partial}");
        let name = if kind == "oci" {
            format!("to/blobs/sha256/{}", digest.hex())
        } else {
            format!("to/{}", digest.hex())
        };
        assert!(std::fs::read(at(&name)).unwrap() == layer());
        assert!(!at("to/.partial").exists());
    };
    let oci = format!(".partial/sha256-{}", digest.hex());
    let dir = format!(".partial/{}", digest.hex());
    let half = layer()[..2_345_678].to_vec();
    let mut damaged = half.clone();
    damaged[5] ^= 1;
    check("oci", oci.clone(), Vec::new(), &[0]).await;
    check("oci", oci.clone(), half.clone(), &[2_345_678]).await;
    check("oci", oci.clone(), layer(), &[]).await;
    check("oci", oci.clone(), damaged, &[2_345_678, 0]).await;
    check("oci", oci, vec![1; 5_000_000], &[0]).await;
    check("dir", dir, half, &[2_345_678]).await;
}

#[test]
fn a_damaged_source_leaves_no_trace() {
    let digest = Digest::sha256(&layer());
    let check = |kind: &str| {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        image(&at("from"));
        let blob = at("from/blobs/sha256").join(digest.hex());
        let mut bytes = layer();
        bytes[3_000_000] ^= 1;
        std::fs::write(blob, bytes).unwrap();
        let to = end(format!("{kind}:{}", at("to").display()));
        let from = end(format!("oci:{}", at("from").display()));
        // A runtime of its own, as a command has: blocking work that a failed copy left behind ends with it.
        let runtime = || tokio::runtime::Runtime::new().unwrap();
        let error = runtime().block_on(copy(&from, &to, Options::default())).unwrap_err();
        assert!(matches!(error, TransferError::Corrupt { .. }), "{kind}: {error}");
        if kind.ends_with("archive") {
            assert_eq!(names(folder.path()), ["from"]);
        } else {
            assert!(runtime().block_on(to.source()).is_err(), "{kind} has nothing to show");
        }
    };
    for kind in ["oci", "oci-archive", "docker-archive", "dir"] {
        check(kind);
    }
}

#[tokio::test]
async fn folders_of_other_things_are_left_alone() {
    let check = async |kind: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        let to = end(format!("{kind}:{}", folder.path().display()));
        let error = to.target().await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("other things"), "{error}");
        assert_eq!(names(folder.path()), ["letter.txt"]);
        assert!(to.source().await.is_err());
    };
    check("oci").await;
    check("dir").await;
}

#[tokio::test]
async fn a_manifest_without_its_blobs_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    image(&at("from"));
    let from = end(format!("oci:{}", at("from").display()));
    let to = end(format!("oci:{}", at("to").display()));
    copy(&from, &to, Options::default()).await.unwrap();
    let blob = at("to/blobs/sha256").join(Digest::sha256(&layer()).hex());
    std::fs::remove_file(&blob).unwrap();
    copy(&from, &to, Options::default()).await.unwrap();
    assert!(std::fs::read(&blob).unwrap() == layer());
}

#[tokio::test]
async fn what_has_arrived_is_written_into_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    image(&at("from"));
    std::fs::create_dir_all(at("to/.partial")).unwrap();
    std::fs::write(at("to/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(at("precious"), "precious").unwrap();
    let partial = at(&format!("to/.partial/sha256-{}", Digest::sha256(&layer()).hex()));
    let (from, to) =
        (end(format!("oci:{}:v1", at("from").display())), end(format!("oci:{}", at("to").display())));
    std::os::unix::fs::symlink(at("precious"), &partial).unwrap();
    let error = copy(&from, &to, Options::default()).await.unwrap_err().to_string();
    assert!(error.contains("is not a file"), "{error}");
    assert_eq!(std::fs::read(at("precious")).unwrap(), b"precious");
    // What a pipe takes nobody has.
    std::fs::remove_file(&partial).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&partial).status().unwrap().success());
    let error = copy(&from, &to, Options::default()).await.unwrap_err().to_string();
    assert!(error.contains("is not a file"), "{error}");
    std::fs::remove_file(&partial).unwrap();
    copy(&from, &to, Options::default()).await.unwrap();
}
