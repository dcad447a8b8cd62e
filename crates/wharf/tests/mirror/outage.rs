//! Upstreams that fail: what was seen before pulls, nothing wrong is kept, and who cannot be served is told why.

use test_kit::http::{Client, Response};
use test_kit::{Between, Fault, WharfServer, house};

use crate::{EXE, Pushed, Scene, push, until_well};

/// So that each pull asks, and gives up soon.
const IMPATIENT: &str =
    "fresh_for = \"0s\"\nstale_for = \"0s\"\nabsent_for = \"0s\"\npatience = \"200ms\"\ntimeout = \"500ms\"";

const SIZE: usize = 1_000_000;

/// How often what was seen is pulled while its upstream fails, by tag, by digest and its layer in turn.
const PULLS: usize = 1_000;

fn blob(client: &Client, pushed: &Pushed) -> Option<Response> {
    let path = format!("/v2/hub/app/blobs/{}", pushed.layer_digest);
    // A connection that is cut is no answer.
    client.request("GET", &path).try_send().ok()
}

/// Each fault by itself, all at once: most of the time nothing happens but waiting.
fn check_all(target: &str, faults: &[Fault]) {
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || check(target, fault));
        }
    });
}

/// Whatever fails: what was pulled before is pulled, by tag and by digest; and what was not is right later.
#[track_caller]
fn check(target: &str, fault: &Fault) {
    let scene = Scene::new(IMPATIENT);
    let seen = scene.push_of_size("library/app", "seen", SIZE);
    let mirror = scene.mirror();
    house::pull(&mirror, "hub/app", "seen").expect(200);
    assert!(mirror.get(&format!("/v2/hub/app/blobs/{}", seen.layer_digest)).expect(200).body == seen.layer);
    let unseen = scene.push_of_size("library/app", "unseen", SIZE + 1);
    scene.between.fail_where(target, fault.clone());
    for pull in 0..PULLS {
        match pull % 3 {
            0 => assert_eq!(house::pull(&mirror, "hub/app", "seen").expect(200).body, seen.manifest),
            1 => assert_eq!(house::pull(&mirror, "hub/app", &seen.digest).expect(200).body, seen.manifest),
            _ => assert!(blob(&mirror, &seen).expect("an answer").expect(200).body == seen.layer),
        }
    }
    let manifest = house::pull(&mirror, "hub/app", "unseen");
    if manifest.status != 200 {
        assert!([403, 502, 503].contains(&manifest.status), "{fault:?}: {manifest}");
        let status = manifest.status;
        manifest.expect_error_form(status);
    }
    if let Some(answer) = blob(&mirror, &unseen) {
        assert!(
            answer.status != 200 || answer.body == unseen.layer,
            "{fault:?}: something wrong was passed on"
        );
        assert!([200, 403, 502, 503].contains(&answer.status), "{fault:?}: {answer}");
    }
    scene.between.fail(Fault::None);
    until_well(&format!("{fault:?}"), || house::pull(&mirror, "hub/app", "unseen").status == 200);
    until_well(&format!("{fault:?}"), || {
        blob(&mirror, &unseen).is_some_and(|answer| answer.status == 200 && answer.body == unseen.layer)
    });
}

#[test]
fn nobody_notices_what_was_seen_before() {
    let later = "Retry-After: 1\r\n".to_owned();
    let faults = [
        Fault::Down,
        Fault::Hang,
        Fault::Status(429, later),
        Fault::Status(503, String::new()),
        Fault::Status(500, String::new()),
        Fault::Status(401, String::new()),
        Fault::Status(403, String::new()),
        Fault::Status(408, String::new()),
    ];
    check_all("", &faults);
}

#[test]
fn blobs_that_break_are_gone_on_with_and_wrong_ones_are_never_kept() {
    let faults = [
        Fault::CutAfter(0),
        Fault::CutAfter(300_000),
        Fault::CutAfter(SIZE as u64),
        Fault::Truncate(300_000),
        Fault::Announce(10),
        Fault::Corrupt,
        Fault::NoLength,
    ];
    check_all("/blobs/", &faults);
}

#[test]
fn manifests_that_are_wrong_are_never_kept() {
    check_all("/manifests/unseen", &[Fault::CutAfter(10), Fault::Truncate(10), Fault::Announce(10)]);
}

#[test]
fn a_connection_that_breaks_again_and_again_is_gone_on_with() {
    let scene = Scene::new("");
    let pushed = scene.push_of_size("library/app", "v1", 6 << 20);
    scene.between.fail_where("/blobs/", Fault::CutAfter(2 << 20));
    assert!(blob(&scene.mirror(), &pushed).expect("an answer").expect(200).body == pushed.layer);
    assert_eq!(scene.between.body_bytes(), pushed.layer.len() as u64, "each byte came once");
    assert_eq!(scene.asked().len(), 3);
}

#[test]
fn many_connections_that_break_at_once_are_gone_on_with() {
    let scene = Scene::new("");
    let images: Vec<Pushed> = (0..12)
        .map(|number| scene.push_of_size("library/app", &format!("v{number}"), (3 << 20) + number))
        .collect();
    scene.between.fail_where("/blobs/", Fault::CutAfter(2 << 20));
    std::thread::scope(|scope| {
        for pushed in &images {
            let scene = &scene;
            scope.spawn(move || {
                assert!(blob(&scene.mirror(), pushed).expect("an answer").expect(200).body == pushed.layer);
            });
        }
    });
}

#[test]
fn what_one_client_asks_for_closes_the_upstream_to_nobody() {
    let scene = Scene::new(IMPATIENT);
    let good = scene.push("library/app", "good");
    // An image of an old form, which nobody can read: there is one of it in many places.
    scene.between.fail_where("/manifests/bad", Fault::Truncate(10));
    for number in 0..20 {
        let answer = house::pull(&scene.mirror(), "hub/app", &format!("bad{number}"));
        assert!([404, 502, 503].contains(&answer.status), "{answer}");
    }
    scene.push("library/app", "bad-too");
    for _ in 0..20 {
        house::pull(&scene.mirror(), "hub/app", "bad-too").expect_error_form(503);
    }
    assert_eq!(house::pull(&scene.mirror(), "hub/app", "good").expect(200).body, good.manifest);
}

#[test]
fn who_sends_something_wrong_is_asked_after_the_others() {
    let upstream = WharfServer::start(EXE);
    let pushed = push(&upstream.client(), "library/app", "v1", b"a layer that comes wrong");
    let between = Between::new(&upstream.authority());
    let mirror = WharfServer::builder(EXE)
        .config(&format!(
            "[[upstream]]\nkey = \"hub\"\nregistry = \"{}\"\nplain_http = true\nlibrary = \"library\"\n\
             [[upstream.also]]\nregistry = \"{}\"\nplain_http = true\n",
            between.authority(),
            upstream.authority()
        ))
        .start();
    between.fail_where("/blobs/", Fault::Corrupt);
    let client = mirror.client();
    house::pull(&client, "hub/app", "v1").expect(200);
    assert!(blob(&client, &pushed).is_none_or(|answer| answer.status != 200), "nothing wrong is passed on");
    // It is asked for at once by the next one who wants it, and there it is right.
    assert!(blob(&client, &pushed).expect("an answer").expect(200).body == pushed.layer);
}
