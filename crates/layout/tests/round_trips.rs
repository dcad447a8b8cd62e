//! What goes through any local end comes out the same.

mod common;

use std::path::Path;

use common::{Maker, copy, end, names};
use layout::LocalRef;
use oci::{Descriptor, types};
use serde_json::json;
use transfer::{Limits, Options, select_platform};

/// A layout with an index of two platforms under `v1`, and a signature of it.
fn index(folder: &Path) -> (Descriptor, Descriptor) {
    let maker = Maker(folder);
    let images = [
        maker.image("amd64", &[b"shared", &[7; 3_000_000]], None),
        maker.image("arm64", &[b"shared", b"arm"], None),
    ];
    let mut entries = json!(images);
    for (entry, architecture) in [(0, "amd64"), (1, "arm64")] {
        entries[entry]["platform"] = json!({"os": "linux", "architecture": architecture});
    }
    let document = json!({"schemaVersion": 2, "mediaType": types::OCI_INDEX, "manifests": entries});
    let root = maker.json(types::OCI_INDEX, &document);
    let signature = maker.image("none", &[b"signature"], Some(&root));
    maker.finish(&[&root, &signature]);
    (root, signature)
}

fn same_blobs(a: &Path, b: &Path) {
    let (a, b) = (a.join("blobs/sha256"), b.join("blobs/sha256"));
    assert_eq!(names(&a), names(&b));
    for name in names(&a) {
        assert!(std::fs::read(a.join(&name)).unwrap() == std::fs::read(b.join(&name)).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn an_index_goes_round_every_end_that_can_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let path = |name: &str| at(name).display().to_string();
    let (root, _) = index(&at("first"));
    let ends = [
        format!("oci:{}:v1", path("first")),
        format!("oci-archive:{}:v1", path("archive.tar")),
        format!("dir:{}", path("dir")),
        format!("oci:{}:v1", path("last")),
    ];
    let ends: Vec<LocalRef> = ends.iter().map(end).collect();
    for pair in ends.windows(2) {
        let (top, report) = copy(&pair[0], &pair[1], Options::default()).await.unwrap();
        assert_eq!((top.digest, report.manifests, report.blobs), (root.digest, 3, 5), "{}", pair[1]);
    }
    for end in &ends {
        let source = end.source().await.unwrap();
        assert_eq!(
            source.resolve(None).await.map(|d| d.digest).ok(),
            Some(root.digest).filter(|_| *end != ends[0])
        );
    }
    assert!(!at("last/.partial").exists() && !at("dir/.partial").exists());
    assert_eq!(std::fs::read_to_string(at("dir/version")).unwrap(), "Directory Transport Version: 1.1\n");
}

#[tokio::test]
async fn referrers_are_found_in_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (root, signature) = index(&at("first"));
    let options = || Options { referrers: true, ..Options::default() };
    let (first, archive, last) = (
        end(format!("oci:{}:v1", at("first").display())),
        end(format!("oci-archive:{}:v1", at("a.tar").display())),
        end(format!("oci:{}:v2", at("last").display())),
    );
    copy(&first, &archive, options()).await.unwrap();
    copy(&archive, &last, options()).await.unwrap();
    same_blobs(&at("first"), &at("last"));
    let found = last.source().await.unwrap().referrers(&root.digest).await.unwrap();
    assert_eq!(found.iter().map(|d| d.digest).collect::<Vec<_>>(), [signature.digest]);
    let (_, again) = copy(&archive, &last, options()).await.unwrap();
    assert_eq!((again.blobs, again.bytes), (0, 0));
    let dir = end(format!("dir:{}", at("dir").display()));
    let error = copy(&first, &dir, options()).await.unwrap_err().to_string();
    assert!(error.contains("single image"), "{error}");
}

#[tokio::test]
async fn a_docker_archive_holds_one_image_with_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let maker = Maker(&at("first")).image("amd64", &[b"one", b"two", b"one"], None);
    Maker(&at("first")).finish(&[&maker]);
    let (first, file) = (
        end(format!("oci:{}", at("first").display())),
        end(format!("docker-archive:{}:team/app:v1", at("a.tar").display())),
    );
    let (root, _) = copy(&first, &file, Options::default()).await.unwrap();
    let last = end(format!("oci:{}", at("last").display()));
    for from in [format!("docker-archive:{}", at("a.tar").display()), file.to_string()] {
        let (top, _) = copy(&end(from), &last, Options::default()).await.unwrap();
        assert_eq!(top.digest, root.digest);
    }
    same_blobs(&at("first"), &at("last"));
    let other = end(format!("docker-archive:{}:team/other:v1", at("a.tar").display()));
    let error = other.source().await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("team/app:v1"), "{error}");
    let manifest = layout_member(&at("a.tar"), "manifest.json");
    assert_eq!(manifest[0]["RepoTags"], json!(["team/app:v1"]));
    assert_eq!(manifest[0]["Layers"].as_array().map(Vec::len), Some(3));
    let listed = layout_member(&at("a.tar"), "index.json");
    let annotations = &listed["manifests"][0]["annotations"];
    assert_eq!(annotations["io.containerd.image.name"], "docker.io/team/app:v1");
}

fn layout_member(file: &Path, name: &str) -> serde_json::Value {
    let mut archive = tar::Archive::new(std::fs::File::open(file).unwrap());
    let member = archive.entries().unwrap().map(Result::unwrap).find(|e| e.path().unwrap().ends_with(name));
    serde_json::from_reader(member.unwrap()).unwrap()
}

#[test]
fn an_index_does_not_fit_into_a_docker_archive() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (root, _) = index(&at("first"));
    let from = end(format!("oci:{}:v1", at("first").display()));
    let to = end(format!("docker-archive:{}", at("a.tar").display()));
    // A runtime of its own, as a command has: blocking work that a failed copy left behind ends with it, and takes the
    // unfinished file away.
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let run = |from: &LocalRef| runtime().block_on(copy(from, &to, Options::default()));
    let error = run(&from).unwrap_err().to_string();
    assert!(error.contains("--platform"), "{error}");
    assert_eq!(names(folder.path()), ["first"]);
    let arm = runtime().block_on(async {
        let source = from.source().await.unwrap();
        let wanted = "linux/arm64".parse().unwrap();
        select_platform(&source, root, &wanted, &Limits::default()).await.unwrap()
    });
    run(&end(format!("oci:{}@{}", at("first").display(), arm.digest))).unwrap();
    assert_eq!(names(folder.path()), ["a.tar", "first"]);
}

#[tokio::test]
async fn two_copies_into_one_layout_do_not_lose_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (root, _) = index(&at("first"));
    let from = end(format!("oci:{}:v1", at("first").display()));
    let to: Vec<LocalRef> = (0..8).map(|n| end(format!("oci:{}:t{n}", at("shared").display()))).collect();
    let copies = to.iter().map(|to| copy(&from, to, Options::default()));
    for outcome in futures_util::future::join_all(copies).await {
        outcome.unwrap();
    }
    for to in &to {
        let source = to.source().await.unwrap();
        assert_eq!(source.resolve(to.reference()).await.unwrap().digest, root.digest);
    }
    assert!(!at("shared/.partial").exists());
}

#[tokio::test]
async fn a_layout_whose_names_lie_is_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    let maker = Maker(folder.path());
    let (image, other) = (maker.image("amd64", &[b"a"], None), maker.image("arm64", &[b"b"], None));
    let blobs = folder.path().join("blobs/sha256");
    // One large manifest under many names costs its file once, and memory for each name.
    std::fs::remove_file(blobs.join(other.digest.hex())).unwrap();
    std::os::unix::fs::symlink(image.digest.hex(), blobs.join(other.digest.hex())).unwrap();
    maker.finish(&[&image, &other]);
    let source = end(format!("oci:{}:v1", folder.path().display())).source().await.unwrap();
    let error = source.referrers(&image.digest).await.unwrap_err().to_string();
    assert!(error.contains("is not what its name says"), "{error}");
}

#[tokio::test]
async fn what_docker_cannot_load_does_not_fit_into_a_docker_archive() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let check = async |config: &str, layer: &str, good: bool| {
        let from = tempfile::tempdir().unwrap();
        let maker = Maker(from.path());
        let (config, layer) = (maker.put(config, b"{}"), maker.put(layer, b"layer"));
        let document = json!({"schemaVersion": 2, "mediaType": types::OCI_MANIFEST, "config": config,
            "layers": [layer]});
        maker.finish(&[&maker.json(types::OCI_MANIFEST, &document)]);
        let (from, to) = (
            end(format!("oci:{}:v1", from.path().display())),
            end(format!("docker-archive:{}", at("a.tar").display())),
        );
        let outcome = copy(&from, &to, Options::default()).await.map_err(|error| error.to_string());
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
        assert!(good || outcome.unwrap_err().contains("not an image"));
    };
    let docker = "application/vnd.docker.container.image.v1+json";
    check(docker, "application/vnd.docker.image.rootfs.diff.tar.gzip", true).await;
    check(types::OCI_CONFIG, common::TAR, true).await;
    check(
        "application/vnd.cncf.helm.config.v1+json",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        false,
    )
    .await;
    check(types::OCI_CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json", false).await;
}
