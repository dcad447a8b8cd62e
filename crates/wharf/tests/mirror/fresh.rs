//! How long tags are believed, and what becomes of them when nobody can be asked.

use std::time::Duration;

use test_kit::Fault;
use test_kit::house::pull;

use crate::Scene;

/// Every pull asks, and waits for the answer.
const ALWAYS: &str = "fresh_for = \"0s\"\nstale_for = \"0s\"\nabsent_for = \"0s\"";

/// Nobody asks twice.
const NEVER: &str = "fresh_for = \"1h\"\nabsent_for = \"1h\"";

#[test]
fn within_its_window_a_tag_is_believed_over_a_restart_too() {
    let mut scene = Scene::new(NEVER);
    let pushed = scene.push("library/app", "v1");
    for round in 0..3 {
        assert_eq!(pull(&scene.mirror(), "hub/app", "v1").expect(200).body, pushed.manifest);
        scene.mirror().head("/v2/hub/app/manifests/v1").expect(200);
        assert_eq!(scene.asked().len(), usize::from(round == 0), "{round}");
        scene.mirror.restart();
    }
}

#[test]
fn a_head_is_believed_as_long() {
    let scene = Scene::new(NEVER);
    scene.push("library/app", "v1");
    for round in 0..3 {
        scene.mirror().head("/v2/hub/app/manifests/v1").expect(200);
        assert_eq!(scene.asked().len(), usize::from(round == 0), "{round}");
    }
}

#[test]
fn after_its_window_a_tag_is_asked_for_by_head_and_fetched_only_where_it_moved() {
    let scene = Scene::new(ALWAYS);
    let old = scene.push("library/app", "v1");
    assert_eq!(pull(&scene.mirror(), "hub/app", "v1").expect(200).body, old.manifest);
    scene.asked();
    assert_eq!(pull(&scene.mirror(), "hub/app", "v1").expect(200).body, old.manifest);
    assert_eq!(scene.asked(), ["HEAD /v2/library/app/manifests/v1"]);
    let new = crate::push(&scene.upstream.client(), "library/app", "v1", b"moved");
    assert_ne!(new.digest, old.digest);
    assert_eq!(pull(&scene.mirror(), "hub/app", "v1").expect(200).body, new.manifest);
    let by_digest = format!("GET /v2/library/app/manifests/{}", new.digest);
    assert_eq!(scene.asked(), ["HEAD /v2/library/app/manifests/v1".to_owned(), by_digest]);
    assert_eq!(pull(&scene.mirror(), "hub/app", &old.digest).expect(200).body, old.manifest, "it stays");
}

#[test]
fn an_old_answer_is_given_at_once_while_it_is_looked_at_again() {
    let scene = Scene::new("fresh_for = \"0s\"\nstale_for = \"1h\"");
    let old = scene.push("library/app", "v1");
    pull(&scene.mirror(), "hub/app", "v1").expect(200);
    let new = crate::push(&scene.upstream.client(), "library/app", "v1", b"moved");
    // The upstream takes longer than anybody waits.
    scene.between.delay(Duration::from_millis(300));
    let first = pull(&scene.mirror(), "hub/app", "v1").expect(200);
    assert_eq!((first.body, first.headers.iter().any(|(name, _)| name == "warning")), (old.manifest, false));
    while pull(&scene.mirror(), "hub/app", "v1").expect(200).body != new.manifest {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_cannot_be_asked_is_told_of_and_what_is_gone_there_stays() {
    let scene = Scene::new(ALWAYS);
    let pushed = scene.push("library/app", "v1");
    pull(&scene.mirror(), "hub/app", "v1").expect(200);
    for fault in [Fault::Down, Fault::Status(503, String::new()), Fault::Status(404, String::new())] {
        scene.between.fail(fault);
        for method in ["GET", "HEAD"] {
            let response = scene.mirror().request(method, "/v2/hub/app/manifests/v1").send().expect(200);
            assert_eq!(response.require("docker-content-digest"), pushed.digest);
            let warning = response.require("warning");
            assert!(warning.starts_with("299 - \"hub could not confirm"), "{warning}");
        }
        let by_digest = pull(&scene.mirror(), "hub/app", &pushed.digest).expect(200);
        assert_eq!(by_digest.header("warning"), None, "a digest means one thing for ever");
    }
}

#[test]
fn what_is_not_there_is_not_asked_for_again_and_comes_when_it_comes() {
    let scene = Scene::new(NEVER);
    for round in 0..3 {
        pull(&scene.mirror(), "hub/app", "v1").expect_error(404, "MANIFEST_UNKNOWN");
        assert_eq!(scene.asked().len(), usize::from(round == 0), "{round}");
    }
    let scene = Scene::new(ALWAYS);
    pull(&scene.mirror(), "hub/app", "v1").expect_error(404, "MANIFEST_UNKNOWN");
    let pushed = scene.push("library/app", "v1");
    assert_eq!(pull(&scene.mirror(), "hub/app", "v1").expect(200).body, pushed.manifest);
}
