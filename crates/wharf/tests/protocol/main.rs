//! What the protocol asks and the official conformance suite does not check, sent byte for byte.

mod blobs;
mod errors;
mod lists;
mod manifests;
mod referrers;
mod uploads;

use serde_json::{Value, json};
use test_kit::http::{Client, Response, with_query};
use test_kit::image::{Descriptor, MANIFEST};
use test_kit::{WharfServer, sha256};

fn server() -> WharfServer {
    WharfServer::start(env!("CARGO_BIN_EXE_wharf"))
}

/// Pushes a blob; returns its digest.
fn push_blob(client: &Client, repository: &str, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    let upload = start_upload(client, repository);
    client.put(&finish(&upload, &digest)).body(bytes).send().expect(201);
    digest
}

/// Starts an upload; returns its path.
fn start_upload(client: &Client, repository: &str) -> String {
    client.post(&format!("/v2/{repository}/blobs/uploads/")).expect(202).location()
}

/// The path that ends an upload.
fn finish(upload: &str, digest: &str) -> String {
    with_query(upload, &format!("digest={digest}"))
}

/// An image manifest with an empty configuration and more members.
fn image(more: Value) -> Value {
    let empty = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let mut manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": empty.json(), "layers": []});
    if let (Value::Object(manifest), Value::Object(more)) = (&mut manifest, more) {
        manifest.extend(more);
    }
    manifest
}

/// Sends a manifest under a tag or digest, its empty configuration first.
fn put_manifest(client: &Client, repository: &str, reference: &str, manifest: &Value) -> Response {
    push_blob(client, repository, b"{}");
    put_bytes(client, repository, reference, manifest["mediaType"].as_str(), manifest.to_string().as_bytes())
}

fn put_bytes(
    client: &Client,
    repository: &str,
    reference: &str,
    media_type: Option<&str>,
    bytes: &[u8],
) -> Response {
    let path = format!("/v2/{repository}/manifests/{reference}");
    let request = client.put(&path).body(bytes);
    match media_type {
        Some(media_type) => request.header("Content-Type", media_type).send(),
        None => request.send(),
    }
}

/// Pushes an image under a tag; the text makes its digest its own. Returns the digest.
fn push_image(client: &Client, repository: &str, tag: &str, text: &str) -> String {
    let manifest = image(json!({"annotations": {"text": text}}));
    let pushed = put_manifest(client, repository, tag, &manifest).expect(201);
    pushed.require("docker-content-digest").to_owned()
}
