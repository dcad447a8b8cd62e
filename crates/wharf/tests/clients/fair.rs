//! Clients that ask for five times what one address may: they wait, and nothing fails.

use crate::containerd::Containerd;
use crate::docker::Docker;
use crate::{Client, server};
use std::time::Instant;
use test_kit::image::{ImageSpec, Layout};
use test_kit::{WharfServer, temp_dir};

/// How many times each client pulls.
const PULLS: u32 = 2;

/// What the server has answered: all requests, and those that it refused.
fn answered(server: &WharfServer) -> (u64, u64) {
    let text = String::from_utf8(server.client().get("/metrics").expect(200).body).expect("metrics are text");
    let count = |wanted: &str| -> u64 {
        let lines =
            text.lines().filter(|line| line.starts_with("wharf_requests_total{") && line.contains(wanted));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    };
    (count(""), count("status=\"429\""))
}

#[test]
fn who_asks_for_five_times_their_limit_waits_and_never_fails() {
    let mut server = server();
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let image = layout.image(&ImageSpec { seed: 31, layers: 10, ..ImageSpec::default() });
    layout.tag(&image, "v1");
    let (docker, containerd) = (Docker::start(), Containerd::start(&server));
    let reference = format!("{}/fair/image:v1", server.authority());
    docker.push(&layout, "v1", &reference);

    for client in [&docker as &dyn Client, &containerd] {
        let (before, started) = (answered(&server).0, Instant::now());
        let digest = client.pull(&reference);
        let asked = answered(&server).0 - before;
        // As fast as the client asks by itself: a fifth of that is what it may. Not less than lets one pull through in the
        // time that anybody waits: a machine that had much else to do just now says little of how fast the client is.
        let least = (asked as f64 / 8.0).ceil();
        let rate = (asked as f64 / started.elapsed().as_secs_f64() / 5.0).floor().max(least);
        server.set_env("WHARF_FAIR_ADDRESS_REQUESTS", &rate.to_string());
        server.restart();
        for _ in 0..PULLS {
            assert_eq!(client.pull(&reference), digest, "{} at {rate} requests a second", client.name());
        }
        let (all, refused) = answered(&server);
        assert!(all >= u64::from(PULLS) * asked, "{} asked {all} times only", client.name());
        assert_eq!(refused, 0, "{} was refused", client.name());
        server.set_env("WHARF_FAIR_ADDRESS_REQUESTS", "0");
        server.restart();
    }
}

#[test]
fn who_would_wait_for_too_long_is_told_when_to_come_back() {
    let builder = WharfServer::builder(env!("CARGO_BIN_EXE_wharf"));
    let builder = builder.env("WHARF_FAIR_ADDRESS_REQUESTS", "1").env("WHARF_FAIR_MAX_WAIT", "1s");
    let server = builder.start();
    let ask = || server.client().get("/v2/");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && refused.len() >= 6, "{} served, {} refused", served.len(), refused.len());
    for answer in refused {
        let seconds: u64 = answer.require("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
        answer.expect_error(429, "TOOMANYREQUESTS");
    }
}
