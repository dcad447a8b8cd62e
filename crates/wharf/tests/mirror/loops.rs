//! Registries that are each other's upstreams: what is nowhere is told soon and by few requests, and what somebody has is
//! had by all.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use test_kit::http::Client;
use test_kit::{Between, Fault, WharfServer, free_port, house};

use crate::{EXE, metrics, push};

/// Some registries, each of which has the next one for its upstream, and what stands before each.
struct Ring {
    nodes: Vec<WharfServer>,
    doors: Vec<Between>,
}

impl Ring {
    fn new(count: usize) -> Self {
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let doors: Vec<_> = ports.iter().map(|port| Between::new(&format!("127.0.0.1:{port}"))).collect();
        let start = |(number, port): (usize, u16)| {
            let next = doors[(number + 1) % count].authority();
            let config = format!(
                "[[upstream]]\nkey = \"next\"\nregistry = \"{next}\"\npathless = true\nabsent_for = \"0s\"\n\
                 fresh_for = \"0s\"\nstale_for = \"0s\"\n"
            );
            WharfServer::builder(EXE).port(port).config(&config).start()
        };
        let nodes = ports.into_iter().enumerate().map(start).collect();
        Self { nodes, doors }
    }

    fn client(&self, node: usize) -> Client {
        self.nodes[node].client()
    }

    /// The requests between them since the last time.
    fn asked(&self) -> Vec<String> {
        let mut asked: Vec<_> = self.doors.iter().flat_map(Between::take_requests).collect();
        asked.retain(|request| request != "GET /v2/");
        asked
    }
}

/// All that a client may ask for of a repository that is nowhere.
fn targets() -> [String; 5] {
    let digest = test_kit::sha256(b"nowhere");
    [
        "manifests/v1".to_owned(),
        format!("manifests/{digest}"),
        format!("blobs/{digest}"),
        "tags/list".to_owned(),
        format!("referrers/{digest}"),
    ]
}

#[test]
fn what_is_nowhere_is_told_after_one_round() {
    for count in [1, 2, 3] {
        let ring = Ring::new(count);
        for target in targets() {
            let has_head = target.starts_with("manifests") || target.starts_with("blobs");
            for method in ["GET", "HEAD"].into_iter().take(1 + usize::from(has_head)) {
                let answer = ring.client(0).request(method, &format!("/v2/team/app/{target}")).send();
                assert_eq!(answer.status, 508, "{count} {method} {target}: {answer}");
                if method == "GET" {
                    let told = String::from_utf8_lossy(&answer.expect_error_form(508).body).into_owned();
                    assert!(told.contains("check the upstreams"), "{told}");
                }
                let asked = ring.asked();
                // A head that a registry does not give may be asked for as a whole.
                assert!(asked.len() <= 2 * count, "{count} {method} {target}: {asked:?}");
            }
        }
        let told = metrics(&ring.client(0));
        let available: Vec<_> =
            told.lines().filter(|line| line.starts_with("wharf_upstream_available{")).collect();
        assert!(available.len() == 1 && available[0].ends_with(" 1"), "nobody is ill: {available:?}");
    }
}

#[test]
fn what_somebody_has_is_had_by_all() {
    let ring = Ring::new(3);
    for _ in 0..10 {
        house::pull(&ring.client(0), "team/app", "v1").expect(508);
    }
    let pushed = push(&ring.client(2), "team/app", "v1", &test_kit::random::bytes(1, 300_000));
    ring.asked();
    for node in [0, 1, 2, 0] {
        assert_eq!(house::pull(&ring.client(node), "team/app", "v1").expect(200).body, pushed.manifest);
        let layer = ring.client(node).get(&format!("/v2/team/app/blobs/{}", pushed.layer_digest)).expect(200);
        assert!(layer.body == pushed.layer);
    }
    let asked = ring.asked();
    assert!(!asked.is_empty() && asked.len() < 20, "{asked:?}");
}

#[test]
fn nobody_takes_its_own_memory_for_news() {
    let ring = Ring::new(2);
    push(&ring.client(1), "team/app", "v1", b"a layer");
    house::pull(&ring.client(0), "team/app", "v1").expect(200);
    ring.client(1).delete("/v2/team/app/manifests/v1").expect(202);
    house::pull(&ring.client(0), "team/app", "v1").expect(200).require("warning");
}

#[test]
fn they_do_not_wait_for_one_another_though_all_are_asked_at_once() {
    let ring = Ring::new(3);
    // So that each has begun before it is asked by the one before.
    ring.doors.iter().for_each(|door| door.delay(Duration::from_millis(100)));
    let targets = targets();
    let barrier = Barrier::new(3 * targets.len());
    thread::scope(|scope| {
        for node in 0..3 {
            for target in &targets {
                let (ring, barrier) = (&ring, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let answer = ring.client(node).get(&format!("/v2/team/app/{target}"));
                    assert_eq!(answer.status, 508, "{node} {target}: {answer}");
                });
            }
        }
    });
    // Who waits until an upstream is given up is told 503.
    let asked = ring.asked();
    assert!(asked.len() < 150, "{}: {asked:?}", asked.len());
}

#[test]
fn a_trail_has_an_end_and_a_forged_one_does_no_harm() {
    let ring = Ring::new(2);
    let pushed = push(&ring.client(1), "team/app", "v1", b"a layer");
    let via = |count: usize| {
        let nodes: Vec<_> = (0..count).map(|number| format!("1.1 wharf-{number:016x}")).collect();
        ring.client(0).with("Via", nodes.join(", "))
    };
    let path = format!("/v2/team/app/blobs/{}", pushed.layer_digest);
    via(16).get(&path).expect(508);
    via(10_000 / 28).get(&path).expect(508);
    assert_eq!(ring.asked(), [""; 0]);
    assert_eq!(via(15).get(&path).expect(200).body, pushed.layer);
    // What is here is given to whoever asks, however they came.
    let compressing = via(16).with("Accept-Encoding", "gzip");
    let answer = compressing.get(&path).expect(200);
    assert_eq!(answer.body, pushed.layer);
    assert_eq!(answer.header("content-encoding"), None, "no proxy stands between");
    assert_eq!(answer.require("etag"), format!("\"{}\"", pushed.layer_digest));
    for strange in ["wharf-", "1.1 wharf-zzzzzzzzzzzzzzzz", ",,,,", "1.1 wharf-0000000000000001;"] {
        house::pull(&ring.client(0).with("Via", strange), "team/app", "v1").expect(200);
    }
    ring.doors.iter().for_each(|door| door.fail(Fault::Down));
    assert_eq!(ring.client(0).with("Via", "1.0 fred").get(&path).expect(200).body, pushed.layer);
}
