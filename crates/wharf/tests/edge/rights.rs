//! Rights: nobody gets an address for what they may not pull, an address is good for one blob, and the journal has both.

use serde_json::{Value, json};
use test_kit::house::{self, House, push_blob};
use test_kit::{WharfServer, sha256};

use crate::{EXE, KEY, Keys, now, sent, sign, site};

const SITE: &str = "https://cdn.example.com";

fn house(keys: &Keys) -> House {
    let section = keys.section(&format!("min_bytes = 0\n{}", site(SITE, "probe = false")));
    let server = WharfServer::builder(EXE).arg("--auth").arg("on").config(&section).start();
    let admin = server.client().basic("admin", &server.first_password());
    House { server, admin }
}

#[test]
fn an_address_is_for_who_may_pull_and_for_one_blob() {
    let keys = Keys::new(&[KEY]);
    let house = house(&keys);
    for project in ["team", "other"] {
        house.project(project, json!({}));
    }
    let ann = house.member("ann", "guest", "team");
    let bob = house.user("bob");
    let image = house::push(&house.admin, "team/app", "v1");
    let elsewhere = push_blob(&house.admin, "other/app", b"a secret");
    let path = format!("/v2/team/app/blobs/{}", image.layer);
    for (client, status) in [(house.anybody(), 401), (bob.clone(), 403)] {
        let refused = client.get(&path).expect(status);
        assert_eq!(refused.header("location"), None, "{refused}");
    }
    ann.get(&format!("/v2/team/app/blobs/{elsewhere}")).expect(404);
    let address = sent(&ann.get(&path), SITE);
    // What is not sent elsewhere is for who asked.
    for (path, caching) in [
        (format!("/v2/team/app/manifests/{}", image.digest), "private, max-age=31536000, immutable"),
        ("/v2/team/app/manifests/v1".to_owned(), "private, no-cache"),
    ] {
        assert_eq!(ann.get(&path).expect(200).require("cache-control"), caching);
    }
    assert_eq!(ann.head(&path).expect(200).require("cache-control"), "private, max-age=31536000, immutable");
    // Without a credential, and whoever sends one.
    for client in
        [house.anybody(), bob, house.anybody().basic("ann", "wrong"), house.anybody().bearer("x.y.z")]
    {
        let read = client.get(&address).expect(200);
        assert_eq!((read.body.as_slice(), read.header("www-authenticate")), (image.bytes.as_slice(), None));
        assert!(read.require("cache-control").starts_with("public, max-age="), "{read}");
    }
    // What is signed for a repository that has not got it is nothing, nor what is nowhere.
    let later = now() + 600;
    for (digest, repository) in [
        (&image.layer, "other/app"),
        (&elsewhere, "team/app"),
        (&image.layer, "team/none"),
        (&sha256(b"nothing"), "team/app"),
    ] {
        house.anybody().get(&sign(1, digest, repository, later)).expect(404);
    }
    assert_eq!(house.anybody().get(&sign(1, &elsewhere, "other/app", later)).expect(200).body, b"a secret");
    // Nobody gets a new one whose right was taken; what was given out is good until it expires.
    house.take("ann", "guest", Some("team"));
    ann.get(&path).expect(403);
    house.anybody().get(&address).expect(200);
}

#[test]
fn the_journal_tells_who_was_sent_and_what_was_taken() {
    let keys = Keys::new(&[KEY]);
    let house = house(&keys);
    house.project("team", json!({}));
    let ann = house.member("ann", "guest", "team");
    let image = house::push(&house.admin, "team/app", "v1");
    let address = sent(&ann.get(&format!("/v2/team/app/blobs/{}", image.layer)), SITE);
    house.anybody().get(&address).expect(200);
    house.anybody().head(&address).expect(200);
    house.anybody().get(&address.replace("until=", "until=1")).expect(403);
    let journal =
        house.admin.get("/api/v1/audit?action=pull&order=oldest&repository=team/app").expect(200).json();
    let told = |record: &Value| {
        ["action", "actor", "via", "outcome", "status", "digest"].map(|name| record[name].clone()).to_vec()
    };
    let told: Vec<_> = journal["items"].as_array().expect("a list").iter().map(told).collect();
    let record = |action: &str, actor: &str, via: &str, outcome: &str, status: u16| {
        vec![json!(action), json!(actor), json!(via), json!(outcome), json!(status), json!(image.layer)]
    };
    assert_eq!(
        told,
        [
            record("pull.blob", "ann", "password", "success", 307),
            record("pull.blob", "anonymous", "signed-url", "success", 200),
            record("pull", "anonymous", "anonymous", "denied", 403),
        ]
    );
}

#[test]
fn who_reads_by_an_address_counts_for_fair_use() {
    let keys = Keys::new(&[KEY]);
    let fair = "[fair]\naddress_requests = 1\naddress_burst = 5\nmax_wait = \"1s\"";
    let section = format!("{}\n{fair}", keys.section(""));
    let server = WharfServer::builder(EXE).config(&section).start();
    let digest = push_blob(&server.client(), "team/app", b"a layer");
    let flood = server.client().with("X-Forwarded-For", "192.0.2.1");
    let good = sign(1, &digest, "team/app", now() + 600);
    let bad = sign(2, &digest, "team/app", now() + 600);
    let status = |address: &str| -> Vec<u16> {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..30).map(|_| scope.spawn(|| flood.get(address))).collect();
            all.into_iter()
                .map(|one| one.join().expect("an answer"))
                .map(|answer| {
                    assert!(
                        answer.status == 200 || answer.require("cache-control") == "no-store",
                        "{answer}"
                    );
                    answer.status
                })
                .collect()
        })
    };
    for address in [&good, &bad] {
        let all = status(address);
        assert!(all.iter().filter(|status| **status == 429).count() > 10, "{all:?}");
    }
    let other = server.client().with("X-Forwarded-For", "192.0.2.2");
    other.get(&good).expect(200);
}
