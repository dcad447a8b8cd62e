//! What lies in one repository, taken by way of another.

use crate::registry;
use serde_json::json;
use test_kit::house::{House, Image, image, pull, push, push_blob, put_manifest};
use test_kit::http::Client;
use test_kit::image::{INDEX, MANIFEST};

/// A private image, and somebody who may do all with a project of their own and nothing with that one.
struct Target {
    house: House,
    secret: Image,
    eve: Client,
}

fn target() -> Target {
    let house = registry();
    house.project("secret", json!({}));
    house.project("eve", json!({}));
    let secret = push(&house.admin, "secret/app", "v1");
    let eve = house.member("eve", "project-admin", "eve");
    push(&eve, "eve/app", "own");
    Target { house, secret, eve }
}

impl Target {
    /// The ways in which Eve comes.
    fn ways(&self) -> [Client; 2] {
        let scopes = ["repository:eve/app:pull,push", "repository:secret/app:pull", "registry:catalog:*"];
        [self.eve.clone(), self.house.bearer(&self.eve, &scopes)]
    }

    /// Panics where the repository of Eve has got a blob of the secret one.
    #[track_caller]
    fn expect_nothing_taken(&self) {
        self.eve.get(&format!("/v2/eve/app/blobs/{}", self.secret.layer)).expect(404);
        self.eve.get(&format!("/v2/eve/app/manifests/{}", self.secret.digest)).expect(404);
    }
}

#[test]
fn a_blob_is_not_mounted_from_where_it_may_not_be_read() {
    let target = target();
    for eve in target.ways() {
        let mount = format!("/v2/eve/app/blobs/uploads/?mount={}", target.secret.layer);
        for from in ["&from=secret/app", "", "&from=absent/app", "&from=secret/other"] {
            let answer = eve.post(&format!("{mount}{from}")).expect(202);
            assert!(answer.header("docker-content-digest").is_none(), "{answer}");
            target.expect_nothing_taken();
        }
        // What is not there looks just like what may not be seen.
        let absent = format!("/v2/eve/app/blobs/uploads/?mount={}", test_kit::sha256(b"absent"));
        eve.post(&format!("{absent}&from=secret/app")).expect(202);
    }
    // Who may read there, may.
    let mount = format!("/v2/secret/copy/blobs/uploads/?mount={}&from=secret/app", target.secret.layer);
    target.house.admin.post(&mount).expect(201);
}

#[test]
fn a_manifest_does_not_fetch_the_blobs_that_it_names() {
    let target = target();
    let (manifest, _) = image("secret/app:v1");
    assert_eq!(manifest, target.secret.manifest);
    for eve in target.ways() {
        put_manifest(&eve, "eve/app", "stolen", &manifest).expect_error(404, "MANIFEST_BLOB_UNKNOWN");
        pull(&eve, "eve/app", "stolen").expect(404);
        // An index may name what is not there: it still is not there.
        let size = manifest.to_string().len();
        let child = json!({"mediaType": MANIFEST, "digest": target.secret.digest, "size": size});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]});
        let request = eve.put("/v2/eve/app/manifests/index").header("Content-Type", INDEX);
        request.body(index.to_string()).send().expect(201);
        target.expect_nothing_taken();
    }
}

#[test]
fn a_digest_is_no_key_to_another_repository() {
    let target = target();
    for eve in target.ways() {
        let (digest, layer) = (&target.secret.digest, &target.secret.layer);
        for path in [
            format!("/v2/eve/app/manifests/{digest}"),
            format!("/v2/eve/app/blobs/{layer}"),
            format!("/v2/eve/app/blobs/{digest}"),
            format!("/v2/eve/other/blobs/{layer}"),
        ] {
            for method in ["GET", "HEAD", "DELETE"] {
                let answer = eve.request(method, &path).send();
                assert!(matches!(answer.status, 404 | 401 | 403), "{answer}");
            }
        }
        let referrers = eve.get(&format!("/v2/eve/app/referrers/{digest}"));
        assert_eq!(referrers.expect(200).json()["manifests"], json!([]));
        eve.get(&format!("/v2/secret/app/blobs/{layer}")).expect(403);
    }
    let kept = target.house.admin.get(&format!("/v2/secret/app/blobs/{}", target.secret.layer)).expect(200);
    assert_eq!(kept.body, target.secret.bytes);
}

#[test]
fn who_has_the_bytes_learns_nothing_from_pushing_them() {
    // The registry keeps equal blobs once, and whoever pushes one cannot tell whether it was there.
    let target = target();
    let known = push_blob(&target.eve, "eve/app", &target.secret.bytes);
    assert_eq!(known, target.secret.layer);
    push_blob(&target.eve, "eve/app", b"bytes that nobody had");
    target.eve.get(&format!("/v2/secret/app/blobs/{known}")).expect(403);
    target.eve.delete(&format!("/v2/eve/app/blobs/{known}")).expect(202);
    target.house.admin.get(&format!("/v2/secret/app/blobs/{known}")).expect(200);
}

#[test]
fn what_may_not_be_seen_looks_the_same_whether_it_is_there() {
    let target = target();
    let lists = target.eve.get("/v2/_catalog").expect(200).json();
    assert_eq!(lists["repositories"], json!(["eve/app"]));
    let same = |there: &str, absent: &str| {
        for client in [&target.eve, &target.house.anybody()] {
            let (there, absent) = (client.get(there), client.get(absent));
            assert_eq!(there.status, absent.status);
            let plain = |body: &[u8]| String::from_utf8_lossy(body).replace("absent", "secret");
            assert_eq!(plain(&there.body), plain(&absent.body));
        }
    };
    same("/v2/secret/app/manifests/v1", "/v2/absent/app/manifests/v1");
    same("/v2/secret/app/tags/list", "/v2/absent/app/tags/list");
    same("/api/v1/projects/secret", "/api/v1/projects/absent");
    same("/api/v1/projects/secret/-/members", "/api/v1/projects/absent/-/members");
    same("/api/v1/users/admin", "/api/v1/users/absent-user");
}
