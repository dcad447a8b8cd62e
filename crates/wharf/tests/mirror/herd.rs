//! Many who want the same at once.

use std::io::Read;
use std::sync::Barrier;
use std::thread;

use crate::Scene;

const SIZE: usize = 20_000_000;

#[test]
fn many_ask_and_one_is_fetched_though_the_first_leaves() {
    let scene = Scene::new("");
    let pushed = scene.push_of_size("library/app", "v1", SIZE);
    let path = format!("/v2/hub/app/blobs/{}", pushed.layer_digest);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    // The first takes some, and leaves.
    let mut first = scene.mirror().raw(request.as_bytes());
    let mut some = vec![0; 100_000];
    first.read_exact(&mut some).expect("the first bytes come");
    drop(first);
    let barrier = Barrier::new(30);
    thread::scope(|scope| {
        for number in 0..30_u64 {
            let (scene, barrier, pushed, path) = (&scene, &barrier, &pushed, &path);
            scope.spawn(move || {
                barrier.wait();
                let client = scene.mirror();
                if number % 3 == 0 {
                    // A part, of which some may not have come yet.
                    let start = number * 600_000;
                    let part = client.request("GET", path).header("Range", format!("bytes={start}-")).send();
                    let part = part.expect(206);
                    assert!(part.body == pushed.layer[start as usize..], "{number}");
                    assert_eq!(part.require("content-range"), format!("bytes {start}-{}/{SIZE}", SIZE - 1));
                } else {
                    assert!(client.get(path).expect(200).body == pushed.layer, "{number}");
                }
            });
        }
    });
    let fetched = format!("GET /v2/library/app/blobs/{}", pushed.layer_digest);
    assert_eq!(scene.asked(), [fetched]);
    assert_eq!(scene.between.body_bytes(), SIZE as u64, "and each byte once");
}

#[test]
fn many_tags_are_asked_for_once() {
    let scene = Scene::new("");
    let pushed = scene.push("library/app", "v1");
    scene.between.delay(std::time::Duration::from_millis(200));
    let barrier = Barrier::new(40);
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                barrier.wait();
                let manifest = scene.mirror().get("/v2/app/manifests/v1?ns=docker.io").expect(200);
                assert_eq!(manifest.body, pushed.manifest);
            });
        }
    });
    assert_eq!(scene.asked(), ["GET /v2/library/app/manifests/v1"]);
}
