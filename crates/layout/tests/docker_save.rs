//! The files of old `docker save`, which have no manifests of their own.

mod common;

use std::io::Write;
use std::path::Path;

use common::{copy, end};
use oci::{Digest, types};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use transfer::Options;

fn file(builder: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
}

fn symlink(builder: &mut Builder<Vec<u8>>, name: &str, target: &str) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, name, target).unwrap();
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A file of an image whose second layer is compressed and whose third is a link to the first.
fn save(path: &Path, change: impl Fn(&mut Value)) -> Vec<Vec<u8>> {
    let layers = [b"first layer".to_vec(), gzip(b"second layer")];
    let ids = [b"first layer".as_slice(), b"second layer", b"first layer"].map(Digest::sha256);
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ids}});
    let mut manifest = json!([{"Config": "config.json", "RepoTags": ["app:v1"],
        "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]);
    change(&mut manifest);
    let mut builder = Builder::new(Vec::new());
    file(&mut builder, "a/layer.tar", &layers[0]);
    file(&mut builder, "b/layer.tar", &layers[1]);
    symlink(&mut builder, "c/layer.tar", "../a/layer.tar");
    file(&mut builder, "config.json", config.to_string().as_bytes());
    file(&mut builder, "manifest.json", manifest.to_string().as_bytes());
    std::fs::write(path, builder.into_inner().unwrap()).unwrap();
    layers.to_vec()
}

#[tokio::test]
async fn layers_are_kept_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.tar");
    let layers = save(&path, |_| {});
    let to = end(format!("oci:{}:v1", folder.path().join("out").display()));
    for from in ["", ":app:v1", ":docker.io/library/app:v1"] {
        let from = end(format!("docker-archive:{}{from}", path.display()));
        let (root, _) = copy(&from, &to, Options::default()).await.unwrap();
        assert_eq!(root.media_type.as_str(), types::OCI_MANIFEST);
        let blob = |digest: &Digest| {
            std::fs::read(folder.path().join("out/blobs/sha256").join(digest.hex())).unwrap()
        };
        let manifest: Value = serde_json::from_slice(&blob(&root.digest)).unwrap();
        let expect = [
            ("application/vnd.oci.image.layer.v1.tar", &layers[0]),
            ("application/vnd.oci.image.layer.v1.tar+gzip", &layers[1]),
            ("application/vnd.oci.image.layer.v1.tar", &layers[0]),
        ];
        for (layer, (media_type, content)) in manifest["layers"].as_array().unwrap().iter().zip(expect) {
            assert_eq!(layer["mediaType"], media_type);
            assert_eq!(blob(&layer["digest"].as_str().unwrap().parse().unwrap()), *content);
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.tar");
    let check = async |change: fn(&mut Value), word: &str| {
        save(&path, change);
        let from = end(format!("docker-archive:{}", path.display()));
        let error = from.source().await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("saved.tar"), "{error}");
    };
    check(|manifest| manifest[0]["Layers"] = json!(["a/layer.tar"]), "1 layers").await;
    check(|manifest| manifest[0]["Layers"][1] = json!("../../etc/passwd"), "no ../../etc/passwd").await;
    check(|manifest| manifest[0]["Config"] = json!("/etc/passwd"), "no /etc/passwd").await;
    check(|manifest| manifest[0]["Config"] = json!("a/layer.tar"), "configuration").await;
    check(|manifest| *manifest = json!([]), "holds no image").await;
    check(|manifest| *manifest = json!({}), "manifest.json").await;
    save(&path, |_| {});
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, gzip(&bytes)).unwrap();
    let error = end(format!("docker-archive:{}", path.display())).source().await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("gunzip"), "{error}");
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.tar");
    // The second layer in the place of the first, uncompressed as the head of the file has it.
    save(&path, |_| {});
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(11).position(|window| window == b"first layer").unwrap();
    bytes[at] = b'F';
    std::fs::write(&path, bytes).unwrap();
    let from = end(format!("docker-archive:{}", path.display()));
    let to = end(format!("oci-archive:{}", folder.path().join("out.tar").display()));
    let error = copy(&from, &to, Options::default()).await.unwrap_err();
    assert!(matches!(error, transfer::TransferError::Corrupt { .. }), "{error}");
    assert!(!folder.path().join("out.tar").exists());
}
