//! A cache with a limit: what is asked for least goes, what is pinned or in use stays, and all of it still pulls.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use test_kit::house::{pull, push_blob};

use crate::{Pushed, Scene, push};

const MAX_BYTES: u64 = 5_000_000;

/// A layer of an image.
const LAYER: usize = 1_000_000;

fn scene(max_bytes: u64, more: &str) -> Scene {
    // A tag is asked for once.
    let config = format!("fresh_for = \"1h\"\n[mirror]\nmax_bytes = {max_bytes}\nfree_bytes = 0\n{more}\n");
    Scene::new(&config)
}

/// The bytes of all files in the folder of blobs.
fn stored(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => stored(&entry.path()),
        Ok(metadata) => metadata.len(),
        // Gone since it was listed.
        Err(_) => 0,
    });
    sizes.sum()
}

impl Scene {
    fn stored(&self) -> u64 {
        stored(&self.mirror.data().join("blobs"))
    }

    /// Waits until something is so: evictions come after the pulls that make them necessary.
    #[track_caller]
    fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < Duration::from_secs(30), "{what}: {} bytes are stored", self.stored());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all has come, and what is too much has gone.
    #[track_caller]
    fn settles(&self, most: u64) {
        let uploads = self.mirror.data().join("uploads");
        self.until("it gets within its limit", |scene| stored(&uploads) == 0 && scene.stored() <= most);
    }

    /// Pushes images with a layer each.
    fn push_many(&self, repository: &str, count: usize) -> Vec<Pushed> {
        let layer = |number: usize| test_kit::random::bytes(number as u64 + 1, LAYER + number);
        let client = self.upstream.client();
        (0..count).map(|number| push(&client, repository, &format!("v{number}"), &layer(number))).collect()
    }

    #[track_caller]
    fn pulls(&self, repository: &str, tag: &str, pushed: &Pushed) {
        let mirror = self.mirror();
        assert_eq!(pull(&mirror, repository, tag).expect(200).body, pushed.manifest);
        let blob = mirror.get(&blob_path(repository, pushed)).expect(200);
        assert!(blob.body == pushed.layer, "{repository}:{tag}");
    }

    /// How often the layer of an image was fetched since the last time.
    fn fetched(&self, all: &[Pushed]) -> Vec<usize> {
        let asked = self.asked();
        let count = |image: &Pushed| {
            asked
                .iter()
                .filter(|line| line.starts_with("GET ") && line.ends_with(&image.layer_digest))
                .count()
        };
        all.iter().map(count).collect()
    }
}

fn blob_path(repository: &str, pushed: &Pushed) -> String {
    format!("/v2/{repository}/blobs/{}", pushed.layer_digest)
}

#[test]
fn many_images_pass_through_a_small_cache() {
    let mut scene = scene(MAX_BYTES, "pin = [\"hub/library/pinned\", \"hub/library/app:v0\"]");
    let images = scene.push_many("library/app", 30);
    let kept = scene.push_of_size("library/pinned", "v1", LAYER / 2);
    scene.pulls("hub/library/pinned", "v1", &kept);
    for round in 0..2 {
        for (number, image) in images.iter().enumerate() {
            scene.pulls("hub/library/app", &format!("v{number}"), image);
        }
        scene.settles(MAX_BYTES);
        // It was filled: no more was evicted than had to be.
        assert!(scene.stored() > MAX_BYTES - 2 * LAYER as u64, "{round}: {}", scene.stored());
    }
    let fetched = scene.fetched(&images);
    assert_eq!(fetched[0], 1, "pinned by its tag");
    assert!(fetched[1..].iter().sum::<usize>() > 40, "what was evicted was fetched again: {fetched:?}");
    scene.pulls("hub/library/pinned", "v1", &kept);
    let layer = |scene: &Scene| scene.asked().iter().any(|line| line.ends_with(&kept.layer_digest));
    assert!(!layer(&scene), "pinned by its repository");

    // What is there is known after a restart, and what comes is counted with it.
    scene.mirror.restart();
    for (number, image) in images.iter().enumerate().take(10) {
        scene.pulls("hub/library/app", &format!("v{number}"), image);
    }
    scene.settles(MAX_BYTES);
    scene.pulls("hub/library/pinned", "v1", &kept);
    assert!(!layer(&scene), "after a restart, too");
}

#[test]
fn what_somebody_works_with_stays() {
    let scene = scene(MAX_BYTES, "");
    let images = scene.push_many("library/app", 20);
    scene.pulls("hub/library/app", "v0", &images[0]);
    // Somebody has pushed the same: now it is theirs, too.
    let hosted = push_blob(&scene.mirror(), "team/app", &images[0].layer);
    assert_eq!(hosted, images[0].layer_digest);
    // And somebody asks for this again and again.
    scene.pulls("hub/library/app", "v1", &images[1]);
    scene.asked();
    for (number, image) in images.iter().enumerate().skip(2) {
        scene.pulls("hub/library/app", &format!("v{number}"), image);
        scene.pulls("hub/library/app", "v1", &images[1]);
    }
    scene.settles(MAX_BYTES + images[0].layer.len() as u64);
    let client = scene.mirror();
    assert!(client.get(&blob_path("team/app", &images[0])).expect(200).body == images[0].layer);
    scene.pulls("hub/library/app", "v0", &images[0]);
    let fetched = scene.fetched(&images);
    assert_eq!(fetched[..2], [0, 0], "{fetched:?}");
}

#[test]
fn who_reads_is_not_interrupted() {
    let most = 50_000_000;
    let scene = scene(most, "");
    let images = scene.push_many("library/app", 20);
    // More than the kernel's buffers hold.
    let large = scene.push_of_size("library/large", "v1", 45_000_000);
    scene.pulls("hub/library/large", "v1", &large);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        blob_path("hub/library/large", &large)
    );
    let mut reader = scene.mirror().raw(request.as_bytes());
    let mut answer = vec![0; 10_000];
    reader.read_exact(&mut answer).expect("the first bytes come");
    for (number, image) in images.iter().enumerate() {
        scene.pulls("hub/library/app", &format!("v{number}"), image);
    }
    scene.settles(most);
    scene.asked();
    reader.read_to_end(&mut answer).expect("the rest comes");
    assert!(answer.ends_with(&large.layer), "{} bytes", answer.len());
    scene.pulls("hub/library/large", "v1", &large);
    assert_eq!(scene.fetched(&[large]), [1], "it had been evicted");
}

#[test]
fn what_is_larger_than_the_cache_is_passed_through() {
    let scene = scene(MAX_BYTES, "");
    let small = scene.push_of_size("library/app", "small", LAYER);
    scene.pulls("hub/library/app", "small", &small);
    let large = scene.push_of_size("library/app", "large", MAX_BYTES as usize + 1);
    for round in 1..3 {
        scene.pulls("hub/library/app", "large", &large);
        scene.settles(MAX_BYTES);
        assert_eq!(scene.fetched(std::slice::from_ref(&large)), [1], "{round}");
    }
    scene.pulls("hub/library/app", "small", &small);
    assert_eq!(scene.fetched(&[small]), [0], "nothing had to go for it");
    assert!(scene.mirror.log().contains("larger than the cache"));
}
