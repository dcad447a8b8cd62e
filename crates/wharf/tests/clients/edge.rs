//! Real clients that are sent elsewhere for blobs: to a CDN, and to another Wharf. Each byte leaves the registry once.

use crate::buildah::Buildah;
use crate::containerd::Containerd;
use crate::crane::Crane;
use crate::docker::Docker;
use crate::mirrored::cri::Cri;
use crate::oras::Oras;
use crate::podman::Podman;
use crate::skopeo::{Skopeo, first_in_layout};
use crate::{Client, manifest};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use test_kit::cdn::SLICE;
use test_kit::image::{ImageSpec, Layout};
use test_kit::{Between, Cdn, Cmd, WharfServer, free_port, temp_dir};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");

const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";

/// Waits until a registry sends clients to its site.
fn wait_for_site(server: &WharfServer) {
    let start = Instant::now();
    while counted(server, "wharf_edge_site_available{") == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the site never works: {}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn metrics(server: &WharfServer) -> String {
    String::from_utf8(server.client().get("/metrics").expect(200).body).expect("metrics are text")
}

/// The sum of the metrics whose lines begin so.
fn counted(server: &WharfServer, start: &str) -> u64 {
    let text = metrics(server);
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Pulls with every client, by tag and by digest, from a registry that sends them elsewhere. Gives the blobs of the image
/// with their sizes.
fn all_pull(region: &WharfServer) -> HashMap<String, u64> {
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let image =
        layout.image(&ImageSpec { seed: 81, layers: 3, layer_size: 1_500_000, ..ImageSpec::default() });
    layout.tag(&image, "v1");
    let reference = format!("{}/far/app:v1", region.authority());
    Skopeo.push(&layout, "v1", &reference);
    let (_, content) = manifest(region, "far/app", "v1");
    let layers = content["layers"].as_array().expect("layers").iter().chain([&content["config"]]);
    let digest = |blob: &serde_json::Value| blob["digest"].as_str().expect("a digest").to_owned();
    let blobs: HashMap<_, _> =
        layers.map(|blob| (digest(blob), blob["size"].as_u64().expect("a size"))).collect();

    let clients: [&dyn Client; 8] = [
        &Skopeo,
        &Podman::new(),
        &Buildah::new(),
        &Docker::start(),
        &Containerd::start(region),
        &Cri(Containerd::start(region)),
        &Crane,
        &Oras,
    ];
    for client in clients {
        let before = counted(region, "wharf_edge_redirects_total{");
        for reference in [reference.clone(), format!("{}/far/app@{}", region.authority(), image.digest)] {
            assert_eq!(client.pull(&reference), image.digest, "{} of {reference}", client.name());
        }
        let redirects = counted(region, "wharf_edge_redirects_total{") - before;
        assert!(redirects >= 4, "{} was sent elsewhere {redirects} times", client.name());
    }
    // The program's own client may be at a site, and is not sent there.
    let copy = dir.path().join("copy").display().to_string();
    Cmd::new(EXE).args(["copy", &format!("docker://{reference}"), &format!("oci:{copy}:v1")]).run();
    assert_eq!(first_in_layout(copy.as_ref()), image.digest);
    blobs
}

#[test]
fn every_client_pulls_from_a_cdn() {
    let (dir, mut cdn) = (temp_dir(), Cdn::new());
    let keys = dir.path().join("keys");
    std::fs::write(&keys, KEY).expect("a file can be written");
    let config = format!(
        "[edge]\nkey_file = \"{}\"\nlifetime = \"1d\"\nmin_bytes = 0\nprobe_every = \"1s\"\n[[edge.site]]\nurl = \"{}\"\n",
        keys.display(),
        cdn.url()
    );
    let region = WharfServer::builder(EXE).config(&config).start();
    let origin = Between::new(&region.authority());
    cdn.start(&origin.authority());
    wait_for_site(&region);
    let blobs = all_pull(&region);

    // Each part of each blob once.
    let mut asked: HashMap<String, u64> = HashMap::new();
    for request in origin.take_requests() {
        if let Some(rest) = request.strip_prefix("GET /edge/v1/sha256/") {
            *asked.entry(format!("sha256:{}", rest.get(..64).expect("a digest"))).or_default() += 1;
        }
    }
    let parts = blobs.iter().map(|(digest, size)| (digest.clone(), size.div_ceil(SLICE as u64))).collect();
    assert_eq!(asked, parts);
}

#[test]
fn every_client_pulls_from_another_wharf() {
    let (dir, port) = (temp_dir(), free_port());
    let keys = dir.path().join("keys");
    std::fs::write(&keys, KEY).expect("a file can be written");
    let section = format!(
        "[edge]\nkey_file = \"{}\"\nlifetime = \"1d\"\nmin_bytes = 0\nprobe_every = \"1s\"\n",
        keys.display()
    );
    let site = format!("[[edge.site]]\nurl = \"http://127.0.0.1:{port}\"\n");
    let region = WharfServer::builder(EXE).config(&format!("{section}{site}")).start();
    let between = Between::new(&region.authority());
    let upstream = format!(
        "upstream = \"region\"\n[[upstream]]\nkey = \"region\"\nregistry = \"{}\"\n",
        between.authority()
    );
    let edge = WharfServer::builder(EXE).port(port).config(&format!("{section}{upstream}")).start();
    wait_for_site(&region);
    let blobs = all_pull(&region);

    let asked = between.take_requests();
    let asked: Vec<_> =
        asked.iter().filter(|request| request.starts_with("GET /v2/far/app/blobs/")).collect();
    assert_eq!(asked.len(), blobs.len(), "each blob is fetched once: {asked:?}");
    assert!(counted(&edge, "wharf_edge_served_total") >= 32);
}
