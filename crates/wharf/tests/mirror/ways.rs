//! The ways in: by prefix, by namespace, and by nothing.

use test_kit::house::{pull, put_manifest};
use test_kit::http::Client;

use crate::{Pushed, Scene, push};

/// Pulls all of an image and holds it against what was pushed.
#[track_caller]
fn pull_all(client: &Client, repository: &str, tag: &str, query: &str, expect: &Pushed) {
    let get = |path: String| client.get(&format!("/v2/{repository}/{path}{query}")).expect(200);
    let manifest = get(format!("manifests/{tag}"));
    assert_eq!(manifest.body, expect.manifest);
    assert_eq!(manifest.require("docker-content-digest"), expect.digest);
    let namespace = query.strip_prefix("?ns=");
    assert_eq!(manifest.header("oci-namespace"), namespace);
    assert_eq!(get(format!("manifests/{}", expect.digest)).body, expect.manifest);
    let blob = get(format!("blobs/{}", expect.layer_digest));
    assert_eq!(blob.body, expect.layer);
    assert_eq!(blob.require("content-length"), expect.layer.len().to_string());
    assert_eq!(blob.header("oci-namespace"), namespace);
}

#[test]
fn three_ways_lead_to_one_cache() {
    let scene = Scene::new("");
    let pushed = scene.push("library/app", "v1");
    let mirror = scene.mirror();
    for (repository, query) in [
        ("hub/library/app", ""),
        ("hub/app", ""),
        ("library/app", "?ns=docker.io"),
        ("app", "?ns=docker.io"),
        ("library/app", ""),
        ("app", ""),
    ] {
        pull_all(&mirror, repository, "v1", query, &pushed);
    }
    let layer = format!("GET /v2/library/app/blobs/{}", pushed.layer_digest);
    assert_eq!(
        scene.asked(),
        ["GET /v2/library/app/manifests/v1".to_owned(), layer],
        "each was fetched once"
    );
    let catalog = mirror.get("/v2/_catalog").expect(200).json();
    assert_eq!(catalog["repositories"], serde_json::json!(["hub/library/app"]));
}

#[test]
fn a_namespace_is_a_key_and_never_an_address() {
    let scene = Scene::new("");
    let pushed = scene.push("library/app", "v1");
    let mirror = scene.mirror();
    for unknown in ["ghcr.io", &scene.upstream.authority(), &scene.between.authority(), "", "%0d%0a"] {
        let response = mirror.get(&format!("/v2/library/secret/manifests/v1?ns={unknown}"));
        assert_eq!(response.status, 404, "{response}");
    }
    // What a client asks of another registry is never answered with what is ours.
    push(&mirror, "team/app", "v1", b"ours");
    mirror.get("/v2/team/app/manifests/v1?ns=ghcr.io").expect_error(404, "NAME_UNKNOWN");
    mirror.get("/v2/team/app/manifests/v1?ns=docker.io").expect_error(404, "MANIFEST_UNKNOWN");
    mirror.get(&format!("/v2/team/app/manifests/v1?ns={}", scene.mirror.authority())).expect(200);
    pull_all(&mirror, "library/app", "v1", "?ns=docker.io", &pushed);
}

#[test]
fn a_name_of_ones_own_wins() {
    let scene = Scene::new("");
    let theirs = scene.push("library/app", "v1");
    let mirror = scene.mirror();
    let ours = push(&mirror, "library/app", "v1", b"our own");
    pull_all(&mirror, "library/app", "v1", "", &ours);
    pull_all(&mirror, "library/app", "v1", "?ns=docker.io", &theirs);
    pull_all(&mirror, "hub/library/app", "v1", "", &theirs);
    mirror.get("/v2/library/app/manifests/v2").expect_error(404, "MANIFEST_UNKNOWN");
    // Nor is what nobody has pushed yet below a project of one's own.
    scene.push("library/new", "v1");
    mirror.get("/v2/library/new/manifests/v1").expect_error(404, "MANIFEST_UNKNOWN");
    assert!(
        !scene.asked().iter().any(|request| request.contains("manifests/v2")),
        "ours is not looked for there"
    );
}

#[test]
fn nothing_is_pushed_into_what_is_mirrored() {
    let scene = Scene::new("");
    let mirror = scene.mirror();
    for cached in [false, true] {
        if cached {
            scene.push("library/app", "v1");
            mirror.get("/v2/hub/library/app/manifests/v1").expect(200);
        }
        mirror.post("/v2/hub/library/app/blobs/uploads/").expect_error(405, "UNSUPPORTED");
        mirror.post("/v2/hub/app/blobs/uploads/").expect_error(405, "UNSUPPORTED");
        let (manifest, _) = test_kit::house::image("mine");
        put_manifest(&mirror, "hub/library/app", "v1", &manifest).expect_error(405, "UNSUPPORTED");
    }
    // And what is mirrored can be removed.
    mirror.delete("/v2/hub/app/manifests/v1").expect(202);
}

#[test]
fn what_was_mirrored_once_is_never_somebodys_own() {
    let mut scene = Scene::new("");
    scene.push("library/app", "v1");
    scene.mirror().get("/v2/hub/library/app/manifests/v1").expect(200);
    // The operator gives the upstream up.
    scene.mirror.kill();
    std::fs::write(scene.mirror.data().with_file_name("wharf.toml"), "")
        .expect("the configuration can be written");
    scene.mirror.restart();
    let mirror = scene.mirror();
    let upload = test_kit::house::start_upload(&mirror, "hub/library/app");
    let digest = test_kit::sha256(b"mine");
    let end = test_kit::http::with_query(&upload, &format!("digest={digest}"));
    mirror.put(&end).body(b"mine".to_vec()).send().expect_error(405, "UNSUPPORTED");
    let (mut manifest, _) = test_kit::house::image("mine");
    manifest["layers"] = serde_json::json!([]);
    put_manifest(&mirror, "hub/library/app", "v2", &manifest).expect_error_form(404);
    push(&mirror, "hub/other", "v1", b"mine");
}

#[test]
fn a_manifest_is_no_key_to_a_blob() {
    let scene = Scene::new("");
    let mirror = scene.mirror();
    let ours = push(&mirror, "secret/app", "v1", b"nobody's business");
    let theirs = scene.push("team/private", "v1");
    pull_all(&mirror, "hub/team/private", "v1", "", &theirs);
    // Anybody can push a manifest that names it as a layer that is elsewhere, which no registry looks for.
    let upstream = scene.upstream.client();
    for (tag, layer) in [("a", &ours.layer_digest), ("b", &theirs.layer_digest)] {
        let (mut manifest, _) = test_kit::house::image(tag);
        test_kit::house::push_blob(&upstream, "evil/app", b"{}");
        manifest["layers"][0]["digest"] = layer.clone().into();
        manifest["layers"][0]["mediaType"] =
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
        manifest["layers"][0]["urls"] = serde_json::json!(["https://example.com/layer"]);
        put_manifest(&upstream, "evil/app", tag, &manifest).expect(201);
        mirror.get(&format!("/v2/hub/evil/app/manifests/{tag}")).expect(200);
        mirror.get(&format!("/v2/hub/evil/app/blobs/{layer}")).expect_error(404, "BLOB_UNKNOWN");
        mirror.head(&format!("/v2/hub/evil/app/blobs/{layer}")).expect(404);
    }
}

#[test]
fn a_head_fetches_nothing_and_what_it_named_is_kept() {
    let scene = Scene::new("");
    let pushed = scene.push("library/app", "v1");
    let mirror = scene.mirror();
    let head = mirror.head("/v2/library/app/manifests/v1?ns=docker.io").expect(200);
    assert_eq!(head.require("docker-content-digest"), pushed.digest);
    assert_eq!(head.require("content-length"), pushed.manifest.len().to_string());
    let blob = mirror.head(&format!("/v2/hub/library/app/blobs/{}", pushed.layer_digest)).expect(200);
    assert_eq!(blob.require("content-length"), pushed.layer.len().to_string());
    let asked = scene.asked();
    assert!(asked.iter().all(|request| request.starts_with("HEAD ")), "{asked:?}");
    // As containerd does: the manifest by its digest, and the tag is known from then on, whatever the upstream does.
    mirror.get(&format!("/v2/library/app/manifests/{}?ns=docker.io", pushed.digest)).expect(200);
    scene.between.fail(test_kit::Fault::Down);
    assert_eq!(pull(&mirror, "hub/library/app", "v1").expect(200).body, pushed.manifest);
}

#[test]
fn a_repository_shows_no_blob_of_another() {
    let scene = Scene::new("");
    let (one, other) = (scene.push("team/one", "v1"), scene.push("team/other", "v1"));
    let mirror = scene.mirror();
    pull_all(&mirror, "hub/team/one", "v1", "", &one);
    let through = format!("/v2/hub/team/other/blobs/{}", one.layer_digest);
    mirror.get(&through).expect_error(404, "BLOB_UNKNOWN");
    mirror.head(&through).expect(404);
    // What is hosted here is nobody's but its own.
    let ours = push(&mirror, "secret/app", "v1", b"nobody's business");
    mirror.get(&format!("/v2/hub/team/other/blobs/{}", ours.layer_digest)).expect_error(404, "BLOB_UNKNOWN");
    // What both have is fetched once.
    let shared = push(&scene.upstream.client(), "team/other", "v2", &one.layer);
    let before = scene.between.body_bytes();
    pull_all(&mirror, "hub/team/other", "v2", "", &shared);
    assert_eq!(scene.between.body_bytes() - before, shared.manifest.len() as u64);
    drop(other);
}

#[test]
fn lists_are_the_upstreams() {
    let scene = Scene::new("");
    let pushed = scene.push("library/app", "v1");
    scene.push("library/app", "v2");
    let mirror = scene.mirror();
    let tags =
        |query: &str| mirror.get(&format!("/v2/app/tags/list?{query}")).expect(200).json()["tags"].clone();
    assert_eq!(tags("ns=docker.io"), serde_json::json!(["v1", "v2"]));
    assert_eq!(tags("ns=docker.io&n=1"), serde_json::json!(["v1"]));
    assert_eq!(tags("last=v1"), serde_json::json!(["v2"]));
    let asked = scene.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    // A signature comes with what it signs, also when the upstream has gone.
    let (mut signature, bytes) = test_kit::house::image("signature");
    test_kit::house::push_blob(&scene.upstream.client(), "library/app", &bytes);
    signature["subject"] = serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": pushed.digest, "size": pushed.manifest.len(),
    });
    signature["artifactType"] = "application/example".into();
    put_manifest(&scene.upstream.client(), "library/app", "sig", &signature).expect(201);
    let path = format!("/v2/hub/library/app/referrers/{}", pushed.digest);
    let listed = mirror.get(&path).expect(200).json()["manifests"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["artifactType"], "application/example");
    let of_none = mirror.get(&format!("{path}?artifactType=application/other")).expect(200).json();
    assert_eq!(of_none["manifests"], serde_json::json!([]));
}
