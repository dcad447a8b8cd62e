//! Real clients against a real server: every tool pushes, pulls and compares digests, and what one has
//! pushed the others pull.

mod between;
mod buildah;
mod containerd;
mod crane;
mod docker;
mod edge;
mod fair;
mod helm;
mod mirrored;
mod oras;
mod podman;
mod signed_in;
mod skopeo;

use serde_json::Value;
use test_kit::http::Client as Http;
use test_kit::image::{ImageSpec, Layout};
use test_kit::{WharfServer, temp_dir};

/// A tool that moves images; each value has a store of its own that goes away with it.
trait Client {
    /// The tool's name, also used as a repository name.
    fn name(&self) -> &'static str;

    /// Pushes the image with this tag in the layout to `reference` (`host:port/repository:tag`).
    fn push(&self, layout: &Layout, tag: &str, reference: &str);

    /// Pulls `reference` into the tool's own store, unpacked where the tool can; returns the digest of the
    /// manifest as the tool tells it.
    fn pull(&self, reference: &str) -> String;
}

fn server() -> WharfServer {
    WharfServer::start(env!("CARGO_BIN_EXE_wharf"))
}

/// The manifest behind `repository:tag`: its digest, as the server says it, and its content.
fn manifest(server: &WharfServer, repository: &str, reference: &str) -> (String, Value) {
    let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                  application/vnd.docker.distribution.manifest.v2+json";
    let client: Http = server.client();
    let path = format!("/v2/{repository}/manifests/{reference}");
    let response = client.request("GET", &path).header("Accept", accept).send().expect(200);
    let digest = response.require("docker-content-digest").to_owned();
    assert_eq!(digest, test_kit::sha256(&response.body), "the digest names other bytes than those sent");
    (digest, response.json())
}

/// Pushes an image with a tool, checks on the server that it is the image meant, and pulls it again.
fn round_trip(client: &dyn Client, server: &WharfServer) {
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let image = layout.image(&ImageSpec { seed: 11, layers: 3, ..ImageSpec::default() });
    layout.tag(&image, "v1");
    let repository = format!("round/{}", client.name());
    client.push(&layout, "v1", &format!("{}/{repository}:v1", server.authority()));

    let (digest, pushed) = manifest(server, &repository, "v1");
    // Tools may compress layers anew, which changes the manifest; the configuration holds the digests of the
    // unpacked layers, so equal configurations mean equal images.
    let source: Value = serde_json::from_slice(&layout.read(&image.digest)).expect("our manifest is JSON");
    assert_eq!(pushed["config"]["digest"], source["config"]["digest"], "{} changed the image", client.name());
    assert_eq!(pushed["layers"].as_array().map(Vec::len), Some(3));

    let by_tag = client.pull(&format!("{}/{repository}:v1", server.authority()));
    assert_eq!(by_tag, digest, "{} pulled another manifest by tag", client.name());
    let by_digest = client.pull(&format!("{}/{repository}@{digest}", server.authority()));
    assert_eq!(by_digest, digest, "{} pulled another manifest by digest", client.name());
}
