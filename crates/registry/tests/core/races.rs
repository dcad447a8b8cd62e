//! Pushes, mounts and deletions while garbage is collected: nothing that was acknowledged is lost.
//!
//! Several clients work on few images whose layers overlap, so that they keep meeting each other's blobs in every
//! state, while time flies and collections follow each other. What they do is decided by seeds; how their steps
//! interleave is not, and must not matter.

use std::collections::BTreeMap;
use std::time::Duration;

use access::Action;
use oci::Digest;
use registry::{GcOptions, Lifetimes, Limits, MountFrom, RegistryError};
use tokio::sync::watch;

use crate::common::{HOUR, Image, World, parse, repo, sees_all, to};

const CLIENTS: u64 = 6;
const STEPS: usize = 120;

/// Long enough that no upload under way is taken for an orphan, though the clock runs ahead of real time.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// A client, and what it was told is stored: in its own repository, so that nobody else deletes it.
struct Client {
    world: World,
    repository: String,
    stored: BTreeMap<u8, Image>,
}

fn image(number: u8) -> Image {
    let layers = [number % 5, number / 5 % 5, 5 + number % 3].map(|layer| format!("layer {layer}"));
    Image::of(&layers.each_ref().map(String::as_str))
}

impl Client {
    async fn step(&mut self, choice: u8, number: u8) {
        let number = number % 25;
        match choice % 8 {
            0..=3 => self.push(number, choice.is_multiple_of(2)).await,
            4 | 5 => self.delete(number).await,
            6 => self.verify().await,
            _ => {
                // Asked for and left alone.
                for blob in image(number).blobs() {
                    let _absent_or_not = self.world.head_blob(&self.repository, &blob).await;
                }
            }
        }
    }

    /// Pushes as clients do: what is there already or can be mounted is not sent. Where the collector was faster,
    /// once more.
    async fn push(&mut self, number: u8, mounts: bool) {
        let image = image(number);
        loop {
            for content in image.contents() {
                self.provide(content, mounts).await;
            }
            // Others are given their chance between the blobs and the manifest.
            tokio::task::yield_now().await;
            let tag = format!("v{number}");
            match self.world.push_manifest(&self.repository, &tag, &image.bytes()).await {
                Ok(_) => break,
                Err(RegistryError::ManifestBlobsUnknown { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        self.stored.insert(number, image);
    }

    async fn provide(&self, content: &str, mounts: bool) {
        let digest = Digest::sha256(content.as_bytes());
        match self.world.head_blob(&self.repository, &digest).await {
            Ok(_) => return,
            Err(RegistryError::BlobUnknown { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        let grant = to(Action::Push, &self.repository);
        let listing = sees_all();
        let from = MountFrom::Anywhere(&listing);
        if mounts && self.world.registry.mount(&grant, &digest, from).await.expect("a mount is answered") {
            return;
        }
        self.world.push_blob(&self.repository, content).await;
    }

    async fn delete(&mut self, number: u8) {
        let image = self.stored.remove(&number);
        let digest = image.as_ref().map(|image| image.digest().to_string());
        if let Some(digest) = digest {
            self.world.delete(&self.repository, &digest).await.expect("what was stored can be deleted");
        }
    }

    async fn verify(&self) {
        for (number, image) in &self.stored {
            self.world.assert_pulls(&self.repository, &format!("v{number}"), image).await;
        }
    }
}

/// Collects until it is told to stop, and lets time fly meanwhile.
async fn keep_collecting(world: World, stop: watch::Receiver<bool>) -> u64 {
    let mut blobs = 0;
    while !*stop.borrow() {
        // Past the grace, so that a push that is slower than this finds its blobs gone.
        world.clock.advance(2 * HOUR);
        blobs += world.collect(GcOptions::default()).await.expect("garbage is collected").0.blobs;
        tokio::task::yield_now().await;
    }
    blobs
}

async fn run(seed: u64) {
    let lifetimes = Lifetimes { grace: HOUR, orphan: NEVER, ..Lifetimes::default() };
    let world = World::with(Limits::default(), lifetimes);
    let (stop, stopped) = watch::channel(false);
    let collector = tokio::spawn(keep_collecting(world.clone(), stopped));
    let clients = (0..CLIENTS).map(|number| {
        let world = world.clone();
        tokio::spawn(async move {
            let choices = test_kit::random::bytes(seed * CLIENTS + number, 2 * STEPS);
            let mut client = Client { world, repository: format!("team/{number}"), stored: BTreeMap::new() };
            for choice in choices.chunks_exact(2) {
                client.step(choice[0], choice[1]).await;
            }
            client
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut done = Vec::new();
    for client in clients {
        done.push(client.await.expect("no client has failed"));
    }
    stop.send(true).expect("the collector listens");
    let collected = collector.await.expect("the collector has not failed");
    assert!(collected > 0, "there was something to collect");
    settle(&world, done).await;
}

/// In the end what is stored is complete, and once it is deleted nothing is left over.
async fn settle(world: &World, mut clients: Vec<Client>) {
    world.clock.advance(2 * HOUR);
    world.collected().await;
    for client in &clients {
        client.verify().await;
    }
    let (summary, items) = world.check(true).await;
    assert_eq!(items, []);
    assert!(summary.manifests > 0);
    for client in &mut clients {
        for number in 0..25 {
            client.delete(number).await;
        }
    }
    world.clock.advance(2 * HOUR);
    world.collected().await;
    assert_eq!(world.objects(), 0);
    assert_eq!(world.collected().await, [], "a second run finds nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_while_garbage_is_collected() {
    for seed in 1..=12 {
        run(seed).await;
    }
}

/// Many finish the same upload at once; one object stays, and all have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_uploads_at_once_leave_one_object() {
    let world = World::new();
    let pushes = (0..12).map(|number| {
        let world = world.clone();
        tokio::spawn(async move {
            let repository = format!("team/{}", number % 4);
            world.push(&repository, "v1", &Image::of(&["shared"])).await;
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.expect("every push succeeds");
    }
    world.collected().await;
    assert_eq!(world.objects(), 2);
    for number in 0..4 {
        world.assert_pulls(&format!("team/{number}"), "v1", &Image::of(&["shared"])).await;
    }
}

/// Of two tasks that move one tag, the last word is what everyone sees, through the cache, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tag_that_many_move_is_one_of_theirs_for_all() {
    let world = World::new();
    let images: Vec<Image> = (0..4).map(|number| Image::of(&[&format!("layer {number}")])).collect();
    for image in &images {
        world.push("team/app", "seed", image).await;
    }
    let movers = images.iter().cloned().map(|image| {
        let world = world.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                world.push_manifest("team/app", "latest", &image.bytes()).await.expect("it is stored");
                assert!(world.resolve("team/app", "latest").await.is_some(), "it always points somewhere");
            }
        })
    });
    for mover in movers.collect::<Vec<_>>() {
        mover.await.expect("no mover has failed");
    }
    let stored = world.meta.manifest(&repo("team/app"), &parse("latest")).await;
    let stored = stored.unwrap().map(|record| record.digest);
    assert_eq!(world.resolve("team/app", "latest").await, stored, "the cache agrees with the store");
}
