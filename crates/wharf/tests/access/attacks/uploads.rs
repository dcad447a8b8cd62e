//! Uploads that somebody else began.

use crate::registry;
use serde_json::json;
use test_kit::house::start_upload;
use test_kit::http::with_query;
use test_kit::sha256;

#[test]
fn an_upload_belongs_to_its_repository() {
    let house = registry();
    house.project("team", json!({}));
    house.project("eve", json!({}));
    let ann = house.member("ann", "developer", "team");
    let eve = house.member("eve", "project-admin", "eve");
    let guest = house.member("gast", "guest", "team");
    let upload = start_upload(&ann, "team/app");
    ann.patch(&upload).body("the first half").send().expect(202);
    let id = upload.rsplit('/').next().expect("an upload has an id");
    let digest = sha256(b"the first half");

    let elsewhere = format!("/v2/eve/app/blobs/uploads/{id}");
    eve.get(&elsewhere).expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    eve.patch(&elsewhere).body("injected").send().expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    eve.put(&with_query(&elsewhere, &format!("digest={digest}"))).body("").send().expect(404);
    eve.delete(&elsewhere).expect(404);
    // Also where both repositories are one's own.
    ann.get(&format!("/v2/team/other/blobs/uploads/{id}")).expect(404);
    let tokens = [eve.clone(), guest, house.anybody(), house.bearer(&ann, &["repository:team/app:pull"])];
    for client in tokens {
        for (method, path) in [("GET", upload.clone()), ("PATCH", upload.clone()), ("DELETE", upload.clone())]
        {
            let answer = client.request(method, &path).body("injected").send();
            assert!(matches!(answer.status, 401 | 403), "{answer}");
        }
        let answer = client.put(&with_query(&upload, &format!("digest={digest}"))).body("").send();
        assert!(matches!(answer.status, 401 | 403), "{answer}");
    }

    ann.get(&upload).expect(204);
    ann.patch(&upload).body(" and the second").send().expect(202);
    let digest = sha256(b"the first half and the second");
    ann.put(&with_query(&upload, &format!("digest={digest}"))).body("").send().expect(201);
    let kept = ann.get(&format!("/v2/team/app/blobs/{digest}")).expect(200);
    assert_eq!(kept.body, b"the first half and the second");
}

#[test]
fn an_upload_does_not_outlive_the_right_to_push() {
    let house = registry();
    house.project("team", json!({}));
    let ann = house.member("ann", "developer", "team");
    let upload = start_upload(&ann, "team/app");
    ann.patch(&upload).body("half").send().expect(202);
    house.take("ann", "developer", Some("team"));
    house.give("ann", "guest", Some("team"));
    let digest = sha256(b"half");
    ann.patch(&upload).body("more").send().expect(403);
    ann.put(&with_query(&upload, &format!("digest={digest}"))).body("").send().expect(403);
    house.admin.get(&format!("/v2/team/app/blobs/{digest}")).expect(404);
}
