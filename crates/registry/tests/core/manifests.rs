//! Manifests: pushing, pulling and deleting them.

use access::{Action, Grant, Target};
use bytes::Bytes;
use oci::{Algorithm, Digest, ManifestError, ManifestLimits, Reference, types};
use registry::{Lifetimes, Limits, RegistryError};

use crate::common::{Image, World, administer, assert_refused, index, media_type, parse, repo, tag, to};

#[tokio::test]
async fn a_manifest_is_pulled_by_every_name_it_was_pushed_with() {
    let image = Image::of(&["a layer"]);
    let wide = Digest::of(Algorithm::Sha512, &image.bytes());
    let check = async |pushed_as: &str, tags: &[&str], pulled_as: &[&str], expect: Digest| {
        let world = World::new();
        world.push("team/app", "seed", &Image::of(&["a layer"]).annotated("another")).await;
        let tags: Vec<_> = tags.iter().map(|name| tag(name)).collect();
        let grant = to(Action::Push, "team/app");
        let pushed = world
            .registry
            .push_manifest(&grant, &parse(pushed_as), &tags, None, image.bytes().into())
            .await
            .expect("it is stored");
        assert_eq!(pushed.digest, expect);
        for name in pulled_as {
            let record = world.pull("team/app", name).await.expect("it is found");
            assert_eq!((record.digest, &record.bytes[..]), (expect, &image.bytes()[..]), "{name}");
            assert_eq!(record.media_type.as_str(), types::OCI_MANIFEST);
        }
        assert_eq!(pushed.tags.len(), pulled_as.len() - 1, "each tag once");
    };
    let (narrow, wide_name) = (image.digest().to_string(), wide.to_string());
    check("v1", &[], &["v1", &narrow], image.digest()).await;
    check("v1", &["v1.0", "latest", "v1"], &["v1", "v1.0", "latest", &narrow], image.digest()).await;
    check(&narrow, &[], &[&narrow], image.digest()).await;
    check(&narrow, &["v1"], &["v1", &narrow], image.digest()).await;
    check(&wide_name, &["v1"], &["v1", &wide_name], wide).await;
}

#[tokio::test]
async fn the_digests_of_one_content_are_two_manifests() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    let wide = Digest::of(Algorithm::Sha512, &image.bytes()).to_string();
    world.push("team/app", &wide, &image).await;
    assert_eq!(world.resolve("team/app", &image.digest().to_string()).await, None);
}

#[tokio::test]
async fn a_digest_must_be_that_of_the_bytes() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    world.push("team/app", "v1", &image).await;
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let other = Digest::of(algorithm, b"other");
        let refused = world.push_manifest("team/app", &other.to_string(), &image.bytes()).await;
        assert_refused!(refused, RegistryError::DigestMismatch { expected, .. } if expected == other);
        assert_eq!(world.resolve("team/app", &other.to_string()).await, None);
    }
}

#[tokio::test]
async fn a_tag_moves_to_what_was_pushed_last() {
    let world = World::new();
    let (first, second) = (Image::of(&["one"]), Image::of(&["two"]));
    for image in [&first, &second, &first] {
        let digest = world.push("team/app", "latest", image).await;
        assert_eq!(world.resolve("team/app", "latest").await, Some(digest));
    }
    world.assert_pulls("team/app", &second.digest().to_string(), &second).await;
}

#[tokio::test]
async fn all_missing_blobs_are_named() {
    let world = World::new();
    let image = Image::of(&["one", "two", "three"]);
    let held = world.push_blob("team/app", "two").await;
    let refused = world.push_manifest("team/app", "v1", &image.bytes()).await;
    let expect: Vec<Digest> = image.blobs().into_iter().filter(|digest| *digest != held).collect();
    assert_refused!(refused, RegistryError::ManifestBlobsUnknown { missing, .. } if missing == expect);
    assert_eq!(world.resolve("team/app", "v1").await, None);
}

#[tokio::test]
async fn a_blob_elsewhere_does_not_count() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    world.push("team/app", "v1", &image).await;
    for repository in ["team/other", "team", "team/app/sub"] {
        let refused = world.push_manifest(repository, "v1", &image.bytes()).await;
        assert_refused!(refused, RegistryError::ManifestBlobsUnknown { missing, .. } if missing == image.blobs());
        for digest in image.blobs() {
            assert_refused!(world.head_blob(repository, &digest).await, RegistryError::BlobUnknown { .. });
        }
    }
}

#[tokio::test]
async fn what_may_be_absent_may_be_absent() {
    let world = World::new();
    let absent = Digest::sha256(b"absent");
    let foreign = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{}","size":2}},"layers":[
            {{"mediaType":"a/b","digest":"{absent}","size":6,"urls":["https://elsewhere.example/"]}}]}}"#,
        world.push_blob("team/app", "{}").await,
    );
    world.push_manifest("team/app", "foreign", foreign.as_bytes()).await.expect("a foreign layer");
    world.push_manifest("team/app", "sparse", &index(&[(absent, None)])).await.expect("a sparse index");
    let about = Image::of(&["a layer"]).about(absent, "a/signature");
    let digest = world.push("team/app", "about", &about).await;
    assert_eq!(world.resolve("team/app", "about").await, Some(digest));
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest_and_deleting_the_manifest_takes_its_tags() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    let digest = world.push("team/app", "v1", &image).await.to_string();
    world.push("team/app", "v2", &image).await;
    world.push("team/app", "other", &Image::of(&["another"])).await;

    world.delete("team/app", "v1").await.expect("the tag is there");
    assert_eq!(world.resolve("team/app", "v1").await, None);
    world.assert_pulls("team/app", "v2", &image).await;

    world.delete("team/app", &digest).await.expect("the manifest is there");
    for reference in ["v2", &digest] {
        assert_eq!(world.resolve("team/app", reference).await, None, "{reference}");
        let gone = world.delete("team/app", reference).await;
        assert_refused!(gone, RegistryError::ManifestUnknown { .. });
    }
    assert!(world.resolve("team/app", "other").await.is_some());
    let unknown = world.delete("team/none", "v1").await;
    assert_refused!(unknown, RegistryError::ManifestUnknown { repository, .. } if repository == repo("team/none"));
}

#[tokio::test]
async fn limits_are_kept() {
    let manifest = ManifestLimits { size: 600, ..ManifestLimits::default() };
    let world = World::with(Limits { manifest, tags_per_push: 2, ..Limits::default() }, Lifetimes::default());
    let image = Image::of(&["a layer"]);
    world.push("team/app", "v1", &image).await;
    let large = Image::of(&["a layer"]).annotated(&"x".repeat(600)).bytes();
    let refused = world.push_manifest("team/app", "v1", &large).await;
    assert_refused!(refused, RegistryError::ManifestInvalid(ManifestError::TooLarge(600)));
    let grant = to(Action::Push, "team/app");
    let push = async |tags: &[&str]| {
        let tags: Vec<_> = tags.iter().map(|name| tag(name)).collect();
        let bytes = Bytes::from(image.bytes());
        world.registry.push_manifest(&grant, &parse("v1"), &tags, None, bytes).await
    };
    assert_eq!(push(&["a", "a", "v1"]).await.expect("two different ones").tags.len(), 2);
    assert_refused!(push(&["a", "b"]).await, RegistryError::TooManyTags(2));
    assert_eq!(world.resolve("team/app", "b").await, None);
}

#[tokio::test]
async fn a_media_type_must_fit() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    world.push("team/app", "v1", &image).await;
    let grant = to(Action::Push, "team/app");
    for wrong in [types::OCI_INDEX, "text/plain"] {
        let sent = media_type(wrong);
        let bytes = Bytes::from(image.bytes());
        let refused = world.registry.push_manifest(&grant, &parse("v2"), &[], Some(&sent), bytes).await;
        assert_refused!(refused, RegistryError::ManifestInvalid(_));
    }
    assert_eq!(world.resolve("team/app", "v2").await, None);
}

#[tokio::test]
async fn a_grant_is_good_for_what_it_says_only() {
    let world = World::new();
    let image = Image::of(&["a layer"]);
    let digest = world.push("team/app", "v1", &image).await;
    let blob = image.blobs()[0];
    let registry = &world.registry;
    let nowhere = Grant::system("test", Action::Pull, Target::System);
    assert_refused!(registry.manifest(&nowhere, &parse("v1")).await, RegistryError::WrongGrant { .. });
    for wrong in [to(Action::Push, "team/app"), to(Action::DeleteTag, "team/app"), administer()] {
        let refused = registry.manifest(&wrong, &Reference::Digest(digest)).await;
        assert_refused!(refused, RegistryError::WrongGrant { needed: Action::Pull, .. });
        assert_refused!(registry.blob(&wrong, &blob).await, RegistryError::WrongGrant { .. });
        assert_refused!(registry.tags(&wrong, None, 10).await, RegistryError::WrongGrant { .. });
    }
    for wrong in [
        to(Action::Pull, "team/app"),
        to(Action::ReadProject, "team/app"),
        to(Action::DeleteArtifact, "team/app"),
        administer(),
    ] {
        let bytes = Bytes::from(image.bytes());
        let pushed = registry.push_manifest(&wrong, &parse("v2"), &[], None, bytes).await;
        assert_refused!(pushed, RegistryError::WrongGrant { needed: Action::Push, .. });
        let started = registry.start_upload(&wrong, Algorithm::Sha256).await;
        assert_refused!(started, RegistryError::WrongGrant { needed: Action::Push, .. });
        let deleted = registry.delete_manifest(&wrong, &parse("v1")).await;
        assert_refused!(deleted, RegistryError::WrongGrant { needed: Action::DeleteTag, .. });
    }
    world.assert_pulls("team/app", "v1", &image).await;
}
