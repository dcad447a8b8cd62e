//! Referrers: what points at a subject, filtered, also where clients recorded it in a tag.

use crate::{image, push_image, put_manifest, server};
use serde_json::{Value, json};
use test_kit::http::{Client, Response};
use test_kit::image::{Descriptor, INDEX};
use test_kit::sha256;

fn referrers(client: &Client, repository: &str, subject: &str, query: &str) -> Response {
    client.get(&format!("/v2/{repository}/referrers/{subject}{query}")).expect(200)
}

fn digests(response: &Response) -> Vec<String> {
    let index = response.json();
    let manifests = index["manifests"].as_array().expect("an index lists manifests");
    let mut digests: Vec<_> = manifests.iter().filter_map(|entry| entry["digest"].as_str()).collect();
    digests.sort_unstable();
    digests.into_iter().map(str::to_owned).collect()
}

/// Pushes an artifact about `subject`; returns its digest.
fn attach(client: &Client, repository: &str, subject: &Value, artifact_type: &str) -> String {
    let artifact = image(json!({
        "artifactType": artifact_type, "subject": subject, "annotations": {"about": artifact_type},
    }));
    let digest = sha256(artifact.to_string().as_bytes());
    let created = put_manifest(client, repository, &digest, &artifact).expect(201);
    assert_eq!(created.require("oci-subject"), subject["digest"].as_str().unwrap_or_default());
    digest
}

fn subject(digest: &str) -> Value {
    json!({"mediaType": test_kit::image::MANIFEST, "digest": digest, "size": 7})
}

#[test]
fn nothing_known_is_an_empty_index() {
    let server = server();
    let client = server.client();
    push_image(&client, "known", "v1", "known");
    for repository in ["known", "no/such"] {
        let empty = referrers(&client, repository, &sha256(b"nothing"), "");
        assert_eq!(empty.require("content-type"), INDEX);
        assert_eq!(empty.json(), json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}));
        assert_eq!(empty.header("oci-filters-applied"), None);
    }
    client.get("/v2/known/referrers/sha256:bad").expect_error(400, "DIGEST_INVALID");
    client.get("/v2/known/referrers/v1").expect_error(400, "DIGEST_INVALID");
}

#[test]
fn a_filter_is_applied_and_said_so() {
    let server = server();
    let client = server.client();
    let digest = push_image(&client, "filter", "v1", "filter");
    let about = subject(&digest);
    let first = attach(&client, "filter", &about, "application/vnd.example.sbom+json");
    let second = attach(&client, "filter", &about, "application/vnd.example.signature");
    let mut both = [first.clone(), second.clone()];
    both.sort();
    let all = referrers(&client, "filter", &digest, "");
    assert_eq!(digests(&all), both);
    assert_eq!(all.header("oci-filters-applied"), None);

    // A plus sign means itself, whether it is encoded or not.
    for text in ["application/vnd.example.sbom+json", "application%2Fvnd.example.sbom%2Bjson"] {
        let some = referrers(&client, "filter", &digest, &format!("?artifactType={text}"));
        assert_eq!(digests(&some), [first.as_str()], "{text}");
        assert_eq!(some.require("oci-filters-applied"), "artifactType");
        assert_eq!(some.json()["manifests"][0]["artifactType"], "application/vnd.example.sbom+json");
        assert_eq!(some.json()["manifests"][0]["annotations"]["about"], "application/vnd.example.sbom+json");
    }
    let none = referrers(&client, "filter", &digest, "?artifactType=application/none");
    assert!(digests(&none).is_empty());
    assert_eq!(none.require("oci-filters-applied"), "artifactType");
}

#[test]
fn referrers_may_come_before_their_subject_and_go_with_their_own_deletion() {
    let server = server();
    let client = server.client();
    let manifest = image(json!({"annotations": {"text": "late"}}));
    let digest = sha256(manifest.to_string().as_bytes());
    let early = attach(&client, "early", &subject(&digest), "application/early");
    assert_eq!(digests(&referrers(&client, "early", &digest, "")), [early.as_str()]);
    put_manifest(&client, "early", "v1", &manifest).expect(201);
    assert_eq!(digests(&referrers(&client, "early", &digest, "")), [early.as_str()]);
    // Other repositories do not see it.
    assert!(digests(&referrers(&client, "other", &digest, "")).is_empty());
    // The subject may go: what refers to it stays until it is deleted itself.
    client.delete(&format!("/v2/early/manifests/{digest}")).expect(202);
    assert_eq!(digests(&referrers(&client, "early", &digest, "")), [early.as_str()]);
    client.delete(&format!("/v2/early/manifests/{early}")).expect(202);
    assert!(digests(&referrers(&client, "early", &digest, "")).is_empty());
}

#[test]
fn an_index_may_be_a_referrer() {
    let server = server();
    let client = server.client();
    let digest = push_image(&client, "indexed", "v1", "indexed");
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "artifactType": "application/of-index",
        "subject": subject(&digest),
    });
    let created = put_manifest(&client, "indexed", "about", &index).expect(201);
    assert_eq!(created.require("oci-subject"), digest);
    let found = referrers(&client, "indexed", &digest, "").json();
    assert_eq!(found["manifests"][0]["mediaType"], INDEX);
    assert_eq!(found["manifests"][0]["artifactType"], "application/of-index");
    assert_eq!(found["manifests"][0]["size"], index.to_string().len());
}

#[test]
fn what_clients_recorded_in_a_tag_is_merged() {
    let server = server();
    let client = server.client();
    let digest = push_image(&client, "merge", "v1", "merge");
    let known = attach(&client, "merge", &subject(&digest), "application/known");
    let known_size = client.get(&format!("/v2/merge/manifests/{known}")).expect(200).body.len();
    // Pushed by a client that keeps the list itself: an artifact without a subject that the list names.
    let plain = image(json!({"artifactType": "application/recorded"}));
    let bytes = plain.to_string();
    put_manifest(&client, "merge", "recorded", &plain).expect(201);
    let mut recorded = Descriptor::of(test_kit::image::MANIFEST, bytes.as_bytes()).json();
    recorded["artifactType"] = json!("application/recorded");
    let again = json!({
        "mediaType": test_kit::image::MANIFEST, "digest": known, "size": known_size,
        "artifactType": "application/known",
    });
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [recorded, again]});
    put_manifest(&client, "merge", &digest.replace(':', "-"), &list).expect(201);

    let mut both = [known.clone(), sha256(bytes.as_bytes())];
    both.sort();
    assert_eq!(digests(&referrers(&client, "merge", &digest, "")), both, "each once");
    let filtered = referrers(&client, "merge", &digest, "?artifactType=application/recorded");
    assert_eq!(digests(&filtered), [sha256(bytes.as_bytes())]);
}

#[test]
fn many_referrers_are_all_found() {
    let server = server();
    let client = server.client();
    let digest = push_image(&client, "many", "v1", "many");
    let mut expect: Vec<String> = (0..60)
        .map(|number| attach(&client, "many", &subject(&digest), &format!("application/n{number}")))
        .collect();
    expect.sort();
    let mut found = Vec::new();
    let mut path = Some(format!("/v2/many/referrers/{digest}"));
    while let Some(this) = path {
        let page = client.get(&this).expect(200);
        found.extend(digests(&page));
        let link = page.header("link").and_then(|link| link.strip_prefix('<')?.split_once('>'));
        path = link.map(|(address, _)| address.to_owned());
    }
    found.sort();
    assert_eq!(found, expect);
}
