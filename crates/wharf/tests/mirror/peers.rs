//! Nodes of one tier that help each other, before a real docker-registry: it is asked for each thing once, and a node
//! that is gone, hangs or lies is nobody's trouble.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_kit::house::{Credential, image, pull, push_blob, put_manifest};
use test_kit::http::Client;
use test_kit::{Between, Daemon, Fault, WharfServer, free_port, temp_dir};

use crate::{EXE, formats, metrics};

const LAYERS: usize = 24;

/// Some nodes, what stands before each of them for its peers, and a docker-registry.
struct Tier {
    nodes: Vec<WharfServer>,
    doors: Vec<Between>,
    between: Between,
    authority: String,
    dir: TempDir,
    // Before nothing but after all that asks it.
    _daemon: Daemon,
}

/// An image of many layers, by digest.
struct Pushed {
    manifest: Vec<u8>,
    digest: String,
    blobs: HashMap<String, Vec<u8>>,
}

impl Pushed {
    fn bytes(&self) -> u64 {
        let blobs = self.blobs.values().map(|blob| blob.len() as u64).sum::<u64>();
        self.manifest.len() as u64 + blobs
    }

    fn digests(&self) -> Vec<&str> {
        let mut digests: Vec<_> = self.blobs.keys().map(String::as_str).collect();
        digests.sort_unstable();
        digests
    }
}

impl Tier {
    /// One configuration for all nodes, with more lines for each peer, and more arguments.
    fn new(count: usize, peer: impl Fn(&Path, usize) -> String, args: &[&str]) -> Self {
        let dir = temp_dir();
        let (daemon, authority) = formats::docker_registry(dir.path(), "");
        let between = Between::new(&authority);
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let doors: Vec<_> = ports.iter().map(|port| Between::new(&format!("127.0.0.1:{port}"))).collect();
        let mut config = format!(
            "[mirror]\npeer_timeout = \"2s\"\n[[upstream]]\nkey = \"hub\"\nregistry = \"{}\"\nabsent_for = \"0s\"\n",
            between.authority()
        );
        for (number, door) in doors.iter().enumerate() {
            let (host, more) = (door.authority(), peer(dir.path(), number));
            config += &format!("[[mirror.peer]]\nname = \"n{number}\"\nregistry = \"{host}\"\n{more}");
        }
        let start = |(number, port): (usize, u16)| {
            let builder = WharfServer::builder(EXE).port(port).config(&config);
            let builder = args.iter().fold(builder, |builder, arg| builder.arg(*arg));
            builder.env("WHARF_MIRROR_NAME", &format!("n{number}")).start()
        };
        let nodes = ports.into_iter().enumerate().map(start).collect();
        Self { nodes, doors, between, authority, dir, _daemon: daemon }
    }

    fn plain() -> Self {
        Self::new(4, |_, _| String::new(), &[])
    }

    /// Pushes an image whose layers have the bytes of a seed.
    fn push(&self, tag: &str, seed: u64) -> Pushed {
        let upstream = Client::new(&format!("http://{}", self.authority));
        let (mut manifest, _) = image(tag);
        let mut blobs = HashMap::new();
        let mut add = |bytes: Vec<u8>| {
            let digest = push_blob(&upstream, "team/app", &bytes);
            blobs.insert(digest.clone(), bytes);
            digest
        };
        add(b"{}".to_vec());
        let layers = (0..LAYERS).map(|number| {
            let layer = test_kit::random::bytes(seed * 1_000 + number as u64, 100_000 + 10_000 * number);
            let size = layer.len();
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": size, "digest": add(layer),
            })
        });
        manifest["layers"] = layers.collect::<Vec<Value>>().into();
        let digest = put_manifest(&upstream, "team/app", tag, &manifest)
            .expect(201)
            .require("docker-content-digest")
            .to_owned();
        Pushed { manifest: manifest.to_string().into_bytes(), digest, blobs }
    }

    /// The requests for bytes that came to the upstream since the last time, each with its number.
    fn fetched(&self) -> HashMap<String, usize> {
        let mut fetched = HashMap::new();
        for request in self.between.take_requests() {
            if let Some(target) = request.strip_prefix("GET /v2/team/app/") {
                *fetched.entry(target.to_owned()).or_default() += 1;
            }
        }
        fetched
    }

    fn settle(&self, nodes: &[usize]) {
        let start = Instant::now();
        let is_idle =
            |node: &usize| metrics(&self.nodes[*node].client()).contains("wharf_mirror_downloads 0\n");
        while !nodes.iter().all(is_idle) {
            assert!(start.elapsed() < Duration::from_secs(60), "a download does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Which of the other nodes a node asks.
    fn available(&self, node: usize, peer: usize) -> bool {
        let told = metrics(&self.nodes[node].client());
        let line =
            told.lines().find(|line| line.starts_with(&format!("wharf_peer_available{{peer=\"n{peer}\"}}")));
        line.unwrap_or_else(|| panic!("n{node} does not know n{peer}: {told}")).ends_with(" 1")
    }
}

/// Pulls an image as a client does, beginning with another layer each. Gives how often it had to try again.
fn pull_all(client: &Client, tag: &str, pushed: &Pushed, first: usize) -> usize {
    let manifest = pull(client, "hub/team/app", tag).expect(200);
    assert_eq!(manifest.body, pushed.manifest);
    assert_eq!(manifest.require("docker-content-digest"), pushed.digest);
    let mut digests = pushed.digests();
    let count = digests.len();
    digests.rotate_left(first % count);
    let mut again = 0;
    for digest in digests {
        let path = format!("/v2/hub/team/app/blobs/{digest}");
        loop {
            // A connection that is cut is no answer.
            match client.request("GET", &path).try_send() {
                Ok(answer) => {
                    assert!(answer.expect(200).body == pushed.blobs[digest], "{digest}");
                    break;
                }
                Err(_) => again += 1,
            }
            assert!(again < 100, "{digest} cannot be had");
        }
    }
    again
}

/// Many clients of these nodes at once. Gives how often they had to try again.
fn pull_by_many(tier: &Tier, nodes: &[usize], tag: &str, pushed: &Pushed) -> usize {
    const CLIENTS: usize = 12;
    let (barrier, again) = (Barrier::new(CLIENTS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (barrier, again, client) =
                (&barrier, &again, tier.nodes[nodes[number % nodes.len()]].client());
            scope.spawn(move || {
                barrier.wait();
                again.fetch_add(pull_all(&client, tag, pushed, number * 5), Ordering::Relaxed);
            });
        }
    });
    again.into_inner()
}

#[test]
fn a_tier_asks_its_upstream_for_each_thing_once() {
    let tier = Tier::plain();
    let pushed = tier.push("v1", 1);
    tier.between.take_requests();
    let before = tier.between.body_bytes();
    assert_eq!(pull_by_many(&tier, &[0, 1, 2, 3], "v1", &pushed), 0);
    tier.settle(&[0, 1, 2, 3]);
    let mut expect: HashMap<String, usize> =
        pushed.blobs.keys().map(|digest| (format!("blobs/{digest}"), 1)).collect();
    expect.insert(format!("manifests/{}", pushed.digest), 1);
    assert_eq!(tier.fetched(), expect);
    assert_eq!(tier.between.body_bytes() - before, pushed.bytes(), "and each byte once");
    for node in &tier.nodes {
        let told = metrics(&node.client());
        let from_peers = told.lines().find_map(|line| {
            line.strip_prefix("wharf_mirror_peer_bytes_total{upstream=\"hub\"} ")?.parse::<u64>().ok()
        });
        let fetched = told.lines().find_map(|line| {
            line.strip_prefix("wharf_mirror_fetched_bytes_total{upstream=\"hub\"} ")?.parse::<u64>().ok()
        });
        let (from_peers, fetched) = (from_peers.expect("it is told"), fetched.expect("it is told"));
        assert!(from_peers > 0 && fetched > 0, "each is asked for its own: {from_peers} {fetched}");
        assert_eq!(from_peers + fetched, pushed.bytes(), "and has all that it was asked for");
    }
    // Nobody needs anybody for it any more.
    tier.between.fail(Fault::Down);
    tier.doors.iter().for_each(|door| door.fail(Fault::Down));
    pull_by_many(&tier, &[0, 1, 2, 3], "v1", &pushed);
    assert_eq!(
        tier.doors.iter().map(|door| door.take_requests().len()).max().map(|most| most > 0),
        Some(true)
    );
    assert!(tier.fetched().is_empty());
}

#[test]
fn a_node_that_is_gone_is_nobodys_trouble() {
    let mut tier = Tier::plain();
    let pushed = tier.push("v1", 2);
    tier.nodes[3].kill();
    tier.between.take_requests();
    assert_eq!(pull_by_many(&tier, &[0, 1, 2], "v1", &pushed), 0, "nobody notices");
    tier.settle(&[0, 1, 2]);
    let fetched = tier.fetched();
    for digest in pushed.digests() {
        let times = fetched.get(&format!("blobs/{digest}")).copied().unwrap_or_default();
        assert!(
            times == 1 || times == 3,
            "{digest}: once, or by each where it was of who is gone: {fetched:?}"
        );
    }
    let of_the_dead = fetched.values().filter(|times| **times == 3).count();
    assert!((1..LAYERS).contains(&of_the_dead), "{fetched:?}");
    assert!(!tier.available(0, 3) && tier.available(0, 1) && tier.available(0, 2));
    // It comes back, and is asked again.
    tier.nodes[3].restart();
    let next = tier.push("v2", 3);
    let start = Instant::now();
    while !tier.available(0, 3) {
        assert!(start.elapsed() < Duration::from_secs(60), "it is not asked again");
        let seed = 1_000 + start.elapsed().as_millis() as u64;
        pull_all(&tier.nodes[0].client(), "v3", &tier.push("v3", seed), 0);
    }
    tier.fetched();
    pull_all(&tier.nodes[0].client(), "v2", &next, 0);
    assert!(!tier.fetched().is_empty());
}

/// A node that fails in a way: everybody gets what is right, having tried again at most so often.
#[track_caller]
fn check(fault: Fault, most: usize, available: bool) {
    let tier = Tier::plain();
    let pushed = tier.push("v1", 4);
    tier.doors[2].fail(fault.clone());
    let again = pull_all(&tier.nodes[0].client(), "v1", &pushed, 0);
    assert!(again <= most, "{fault:?}: {again}");
    assert!(!tier.doors[2].take_requests().is_empty(), "{fault:?}: it was asked");
    assert_eq!(tier.available(0, 2), available, "{fault:?}");
    tier.settle(&[0]);
    // What is kept is right.
    tier.between.fail(Fault::Down);
    assert_eq!(pull_all(&tier.nodes[0].client(), "v1", &pushed, 0), 0, "{fault:?}");
}

#[test]
fn a_node_that_hangs_is_left_alone() {
    check(Fault::Hang, 0, false);
}

#[test]
fn a_node_that_breaks_off_is_gone_on_from() {
    check(Fault::CutAfter(50_000), 0, true);
}

#[test]
fn a_node_that_sends_something_wrong_is_not_asked_again() {
    check(Fault::Corrupt, 1, false);
}

#[test]
fn a_node_that_refuses_is_passed_by() {
    thread::scope(|scope| {
        for status in [401, 403, 404, 429, 500, 503, 508] {
            scope.spawn(move || check(Fault::Status(status, String::new()), 0, true));
        }
    });
}

#[test]
fn who_says_that_it_is_a_peer_gets_no_more_than_others() {
    let tier = Tier::plain();
    let pushed = tier.push("v1", 5);
    tier.between.take_requests();
    let client = tier.nodes[0].client().with("Wharf-Peer", "n1");
    assert_eq!(pull_all(&client, &pushed.digest, &pushed, 0), 0);
    assert!(tier.doors.iter().all(|door| door.take_requests().is_empty()), "no peer is asked");
    assert_eq!(tier.fetched().len(), pushed.blobs.len() + 1, "but the upstream for all");
    // Nor does it know what is not there.
    client.get(&format!("/v2/hub/team/app/blobs/{}", test_kit::sha256(b"none"))).expect(404);
}

#[test]
fn a_robot_lets_peers_in_where_there_are_users() {
    let peer = |dir: &Path, number: usize| {
        let file = dir.join(format!("n{number}"));
        std::fs::write(&file, "not yet").expect("a file can be written");
        format!("username = \"robot$hub+peer\"\npassword_file = \"{}\"\n", file.display())
    };
    let mut tier = Tier::new(2, peer, &["--auth", "on"]);
    let pushed = tier.push("v1", 6);
    tier.between.take_requests();
    // The passwords of administrators are told at the first start only.
    let passwords: Vec<String> = tier.nodes.iter().map(WharfServer::first_password).collect();
    let admins = |tier: &Tier| -> Vec<Client> {
        tier.nodes
            .iter()
            .zip(&passwords)
            .map(|(node, password)| node.client().basic("admin", password))
            .collect()
    };
    // Without a robot, each is by itself.
    let alone = tier.push("alone", 7);
    tier.between.take_requests();
    admins(&tier).iter().for_each(|admin| assert_eq!(pull_all(admin, "alone", &alone, 0), 0));
    assert_eq!(tier.fetched().get(&format!("manifests/{}", alone.digest)), Some(&2));

    for (number, admin) in admins(&tier).into_iter().enumerate() {
        let robot = robot(&admin);
        assert_eq!(robot.name, "robot$hub+peer");
        std::fs::write(tier.dir.path().join(format!("n{number}")), robot.secret)
            .expect("a file can be written");
    }
    tier.nodes.iter_mut().for_each(WharfServer::restart);
    for admin in admins(&tier) {
        assert_eq!(pull_all(&admin, "v1", &pushed, 0), 0);
    }
    let fetched = tier.fetched();
    // All but the configuration, which the other image has, too.
    assert!(fetched.len() == LAYERS + 1 && fetched.values().all(|times| *times == 1), "{fetched:?}");
    pull(&tier.nodes[0].client().with("Wharf-Peer", "n1"), "hub/team/app", "v1").expect(401);
}

fn robot(admin: &Client) -> Credential {
    let new = json!({"name": "peer", "permissions": [{"project": "hub", "actions": ["pull"]}]});
    let made = test_kit::house::send(admin, "POST", "/projects/hub/-/robots", &new).expect(201);
    test_kit::house::credential(&made)
}
