//! A registry with a token service, as a cache that is in front of it all day asks it.

use crate::registry;
use client::{Credential, FailureKind, Keyring, Remote, Repository, Settings};
use futures_util::{TryStreamExt, future};
use oci::{Digest, Reference};
use serde_json::json;
use test_kit::House;
use test_kit::house::push;

/// The registry, with a credential or without.
fn remote(house: &House, credential: Option<Credential>) -> Remote {
    let keyring = credential.map_or_else(Keyring::empty, Keyring::fixed);
    let host = house.server.authority().parse().expect("a host");
    Remote::open(&host, &Settings { keyring, ..Settings::default() }).expect("good settings")
}

fn repository(remote: &Remote, name: &str) -> Repository {
    remote.repository(&name.parse().expect("a name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_reads_what_its_credential_allows() {
    let (house, image, robot) = tokio::task::spawn_blocking(|| {
        let house = registry();
        house.project("team", json!({}));
        house.project("other", json!({}));
        let image = push(&house.admin, "team/app", "v1");
        push(&house.admin, "other/app", "v1");
        let robot = house.robot("team", "cache", &["pull"]);
        (house, image, robot)
    })
    .await
    .expect("a registry");
    let credential = Credential::password(robot.name, robot.secret);
    let signed_in = remote(&house, Some(credential));
    let tag: Reference = "v1".parse().expect("a tag");
    let app = repository(&signed_in, "team/app");

    let descriptor = app.head_manifest(&tag).await.expect("a manifest");
    assert_eq!(descriptor.digest.to_string(), image.digest);
    let by_digest = Reference::Digest(descriptor.digest);
    let fetched =
        future::try_join_all((0..20).map(|_| app.get_manifest(&by_digest))).await.expect("manifests");
    assert!(fetched.iter().all(|one| one.descriptor == descriptor));
    assert_eq!(fetched[0].bytes, image.manifest.to_string());

    let layer: Digest = image.layer.parse().expect("a digest");
    let size = image.bytes.len() as u64;
    assert_eq!(app.head_blob(&layer).await.expect("a blob"), Some(size));
    for offset in [0, 5, size - 1] {
        let blob = app.open_blob(&layer, offset).await.expect("a blob");
        let bytes: Vec<_> = blob.stream.try_collect().await.expect("bytes");
        assert_eq!((blob.size, bytes.concat()), (Some(size), image.bytes[offset as usize..].to_vec()));
    }
    let beyond = app.open_blob(&layer, size + 1).await.err().expect("an error");
    assert!(beyond.to_string().contains("does not reach"), "{beyond}");
    assert_eq!(app.tags().all(10).await.expect("tags").len(), 1);
    assert_eq!(app.list_referrers(&descriptor.digest).await.expect("a list"), []);

    let check = async |remote: &Remote, name: &str, reference: &str, expect: FailureKind| {
        let reference = reference.parse().expect("a reference");
        let error = repository(remote, name).get_manifest(&reference).await.expect_err("a refusal");
        assert_eq!(error.kind(), expect, "{name}: {error}");
    };
    check(&signed_in, "team/app", "v2", FailureKind::NotFound).await;
    check(&signed_in, "other/app", "v1", FailureKind::Denied).await;
    check(&remote(&house, None), "team/app", "v1", FailureKind::Denied).await;
    let wrong = Credential::password("admin".into(), "not the password".into());
    check(&remote(&house, Some(wrong)), "team/app", "v1", FailureKind::Denied).await;
    // A refusal of one repository takes nothing from the others.
    app.head_manifest(&tag).await.expect("a manifest");
}
