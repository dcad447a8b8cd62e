//! The way to a registry, and what it answers.

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use client::{
    Greeted, Greeting, Host, ImageRef, Keyring, Probe, Remote, Repository, Settings, ShownCertificate,
};
use oci::Reference;
use serde_json::Value;
use transfer::Retry;

use super::Report;
use crate::accounts::print::cell;
use crate::accounts::session::{Path, Session};
use crate::args::accounts::SessionFlags;
use crate::args::machines::DoctorFlags;
use crate::upstreams::state;

/// The most addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// How many days before its end a certificate is warned of.
const ENDS_SOON: i64 = 14;

/// How many seconds two clocks may differ before tokens and signatures begin to fail.
const SKEW: i64 = 60;

const BEHIND_A_PROXY: &str = "A proxy in front of it must pass on Host and X-Forwarded-Proto: see \"Behind a proxy\" in docs/configuration.md";

/// Looks at it step by step, as far as there is a way.
pub(super) async fn look(host: &Host, flags: &DoctorFlags, report: &mut Report) {
    // Faults that pass are found, too.
    let settings = Settings { retry: Retry { failures: 0, ..Retry::default() }, ..flags.connect.settings() };
    let probe = match Probe::new(host, &settings) {
        Ok(probe) => probe,
        Err(error) => return report.fail("settings", error, ""),
    };
    let Some(addresses) = names(host, &probe, report).await else { return };
    let (reached, unreached) = connect(&probe, &addresses).await;
    if let (true, Some(address)) = (probe.is_secure(), reached.first()) {
        tls(&probe, *address, settings.tls_verify == Some(false), report).await;
    }
    let greeting = probe.greet().await;
    connections(host, &reached, &unreached, greeting.is_ok(), report);
    let greeting = match greeting {
        Ok(greeting) => greeting,
        Err(error) => return report.fail("answer", error, ""),
    };
    answer(host, &greeting, report);
    if let Some(date) = greeting.date {
        clock(date, Utc::now(), report);
    }
    if let Some(Greeted::Token { realm, service }) = &greeting.challenge {
        match probe.ask_token(realm, service.as_deref()).await {
            Ok(()) => report.ok("token", format_args!("the token service answers at {realm}")),
            Err(error) => report.fail("token", error, BEHIND_A_PROXY),
        }
    }
    credential(host, &settings, &greeting, report).await;
    if let Some(image) = &flags.image {
        pull(image, &settings, report).await;
    }
    upstreams(host, flags, report).await;
}

async fn names(host: &Host, probe: &Probe, report: &mut Report) -> Option<Vec<SocketAddr>> {
    match probe.addresses().await {
        Ok(addresses) if !addresses.is_empty() => {
            let all: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
            report.ok("name", format_args!("{host} is {}", all.join(", ")));
            Some(addresses)
        }
        outcome => {
            let why = outcome.err().map(|error| format!(": {error}")).unwrap_or_default();
            report.fail(
                "name",
                format_args!("{host} has no address{why}"),
                "Is it written right? Does /etc/resolv.conf name a server that knows it?",
            );
            None
        }
    }
}

/// The addresses that can be connected to, and those that cannot.
async fn connect(probe: &Probe, addresses: &[SocketAddr]) -> (Vec<SocketAddr>, Vec<(SocketAddr, io::Error)>) {
    let (mut reached, mut unreached) = (Vec::new(), Vec::new());
    for address in addresses.iter().take(ADDRESSES) {
        match probe.connect(*address).await {
            Ok(()) => reached.push(*address),
            Err(error) => unreached.push((*address, error)),
        }
    }
    (reached, unreached)
}

fn connections(
    host: &Host,
    reached: &[SocketAddr],
    unreached: &[(SocketAddr, io::Error)],
    answers: bool,
    report: &mut Report,
) {
    let failed: Vec<_> = unreached.iter().map(|(address, error)| format!("{address}: {error}")).collect();
    let failed = failed.join("; ");
    match (reached, answers) {
        ([], true) => report.warn(
            "connection",
            format_args!("{host} answers by a proxy only ({failed})"),
            "What knows nothing of the proxy, such as a container engine's service, needs it in its own environment",
        ),
        ([], false) => report.fail(
            "connection",
            failed,
            "Does the server run, and listen on more than 127.0.0.1? Does a firewall stand between?",
        ),
        _ if !unreached.is_empty() => report.warn(
            "connection",
            format_args!("not all of its addresses can be reached: {failed}"),
            "Take them out of the DNS, or open the way to them: clients try them first, now and then",
        ),
        (reached, _) => report.ok("connection", format_args!("{} can be reached", reached[0])),
    }
}

async fn tls(probe: &Probe, address: SocketAddr, takes_any: bool, report: &mut Report) {
    match probe.certificate(address).await {
        Ok(shown) => certificate(&shown, takes_any, Utc::now(), report),
        Err(error) => report.fail(
            "tls",
            format_args!("no TLS can be spoken: {error}"),
            "Where the registry speaks HTTP without it, say --plain-http",
        ),
    }
}

fn certificate(shown: &ShownCertificate, takes_any: bool, now: DateTime<Utc>, report: &mut Report) {
    let advice =
        "If it is yours, say --ca FILE, and let `wharf client ... --ca FILE` tell the machines that pull";
    match &shown.distrust {
        Some(reason) if takes_any => {
            report.warn("tls", format_args!("the certificate is not trusted: {reason}"), advice)
        }
        Some(reason) => report.fail("tls", format_args!("the certificate is not trusted: {reason}"), advice),
        None => report.ok("tls", "the certificate is trusted"),
    }
    let end = shown.expires.as_deref().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let Some(end) = end.map(|end| end.with_timezone(&Utc)) else {
        return report.warn("expiry", "the end of the certificate cannot be read", "Look at it with openssl");
    };
    let renew = "Renew it: Wharf reads the new one without a restart";
    let (days, day) = ((end - now).num_days(), end.format("%Y-%m-%d"));
    match days {
        _ if end <= now => report.fail("expiry", format_args!("the certificate ended on {day}"), renew),
        ..ENDS_SOON => {
            report.warn("expiry", format_args!("the certificate ends on {day}, in {days} days"), renew)
        }
        _ => report.ok("expiry", format_args!("the certificate ends on {day}")),
    }
}

fn answer(host: &Host, greeting: &Greeting, report: &mut Report) {
    let Greeting { status, challenge, .. } = greeting;
    match (status, challenge) {
        (200, _) => report.ok("answer", format_args!("{host} answers, and lets everybody ask")),
        (401, Some(Greeted::Basic)) => {
            report.ok("answer", format_args!("{host} answers, and asks for a password"))
        }
        (401, Some(Greeted::Token { .. })) => {
            report.ok("answer", format_args!("{host} answers, and asks for a token"))
        }
        (401, None) => report.fail(
            "answer",
            format_args!("{host} refuses with 401 and does not say how to sign in"),
            "Something between takes the header WWW-Authenticate away",
        ),
        (404, _) => report.fail(
            "answer",
            format_args!("{host} has nothing at /v2/"),
            "It is no registry, or a proxy in front of it hands /v2/ to something else",
        ),
        (status, _) => report.fail(
            "answer",
            format_args!("{host} answers /v2/ with the status {status}"),
            "Its log says why",
        ),
    }
}

fn clock(theirs: SystemTime, ours: DateTime<Utc>, report: &mut Report) {
    match (ours - DateTime::<Utc>::from(theirs)).num_seconds() {
        skew if skew.abs() <= SKEW => report.ok("clock", "both clocks tell the same time"),
        skew => {
            let (seconds, side) = (skew.abs(), if skew > 0 { "ahead of" } else { "behind" });
            report.warn(
                "clock",
                format_args!("this machine's clock is {seconds} s {side} the registry's"),
                "Tokens and certificates depend on the time: let both ask a time server",
            );
        }
    }
}

async fn credential(host: &Host, settings: &Settings, greeting: &Greeting, report: &mut Report) {
    let login = format!("Sign in with `wharf login {host}`");
    match Keyring::of_this_user().find(host, None).await {
        Err(error) => return report.fail("credential", error, login),
        Ok(None) if greeting.challenge.is_some() => {
            return report.ok("credential", "nobody is signed in here: what is public can be pulled");
        }
        Ok(None) => return,
        Ok(Some(_)) => {}
    }
    let checked = match Remote::open(host, settings) {
        Ok(remote) => remote.check_credential().await,
        Err(error) => Err(error),
    };
    match checked {
        Ok(true) => report.ok("credential", "the stored credential is accepted"),
        Ok(false) => report.ok("credential", "there is a stored credential, and nobody asks for it"),
        Err(error) => report.fail("credential", error, login),
    }
}

async fn pull(image: &ImageRef, settings: &Settings, report: &mut Report) {
    let pulled = async {
        let repository = Repository::open(&image.host, &image.repository, settings)?;
        let found = repository.find(image.reference.as_ref()).await?;
        repository.get_manifest(&Reference::Digest(found.digest)).await
    };
    match pulled.await {
        Ok(fetched) => report.ok("pull", format_args!("{image} is {}", fetched.descriptor.digest)),
        Err(error) => report.fail("pull", error, ""),
    }
}

/// How the upstreams stand, where who asks may know.
async fn upstreams(host: &Host, flags: &DoctorFlags, report: &mut Report) {
    let connect = flags.connect.clone();
    let flags = SessionFlags { host: host.clone(), json: true, otp: None, connect };
    let Ok(session) = Session::open(&flags) else { return };
    // Another registry has no such thing, and not everybody may see it.
    let Ok(answer) = session.get(&Path::of(&["upstreams"])).await else { return };
    for upstream in answer["items"].as_array().into_iter().flatten() {
        for registry in upstream["registries"].as_array().into_iter().flatten() {
            let name = format!("{} at {}", cell(&upstream["key"]), cell(&registry["host"]));
            standing(&name, registry, report);
        }
    }
}

fn standing(name: &str, registry: &Value, report: &mut Report) {
    let (limit, remaining) = (registry["limit"].as_u64(), registry["remaining"].as_u64());
    let state = state(registry);
    match (limit, remaining) {
        _ if registry["available"] != true => report.warn(
            "upstream",
            format_args!("{name}: {state}"),
            "What is here is served. If it lasts, look at the way from the server to it, and at its credentials",
        ),
        (Some(limit), Some(remaining)) if remaining < limit / 10 => report.warn(
            "upstream",
            format_args!("{name}: {remaining} of {limit} requests are left"),
            "Give it a `username` that may ask more often",
        ),
        _ => report.ok("upstream", format_args!("{name}: {state}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Level};
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[track_caller]
    fn check(look: impl FnOnce(&mut Report), expect: &[(Level, &str)]) {
        let mut report = Report::default();
        look(&mut report);
        assert_eq!(report.0.len(), expect.len(), "{:?}", report.0);
        for (Finding { level, message, advice, .. }, (expected, text)) in report.0.iter().zip(expect) {
            assert_eq!(level, expected, "{message}");
            assert!(message.contains(text), "{message}");
            assert_eq!(advice.is_empty(), *level == Level::Ok, "{message}: {advice}");
        }
    }

    #[test]
    fn certificates_are_to_be_trusted_and_to_last() {
        let now: DateTime<Utc> = "2027-01-01T00:00:00Z".parse().unwrap();
        let check =
            |distrust: Option<&str>, expires: Option<&str>, takes_any: bool, expect: &[(Level, &str)]| {
                let (distrust, expires) = (distrust.map(str::to_owned), expires.map(str::to_owned));
                check(
                    |report| certificate(&ShownCertificate { distrust, expires }, takes_any, now, report),
                    expect,
                );
            };
        let trusted = (Level::Ok, "is trusted");
        check(None, Some("2027-03-01T00:00:00Z"), false, &[trusted, (Level::Ok, "ends on 2027-03-01")]);
        check(None, Some("2027-01-15T00:00:00Z"), false, &[trusted, (Level::Ok, "2027-01-15")]);
        check(None, Some("2027-01-14T23:59:59Z"), false, &[trusted, (Level::Warn, "in 13 days")]);
        check(
            Some("expired"),
            Some("2026-12-31T00:00:00Z"),
            false,
            &[(Level::Fail, "expired"), (Level::Fail, "ended on")],
        );
        check(Some("unknown"), None, true, &[(Level::Warn, "unknown"), (Level::Warn, "cannot be read")]);
    }

    #[test]
    fn clocks_are_to_agree() {
        let ours = Utc::now();
        let at = |seconds: i64| SystemTime::from(ours - chrono::TimeDelta::seconds(seconds));
        check(|report| clock(at(30), ours, report), &[(Level::Ok, "same time")]);
        check(|report| clock(at(90), ours, report), &[(Level::Warn, "90 s ahead of")]);
        check(
            |report| clock(SystemTime::from(ours) + Duration::from_secs(3600), ours, report),
            &[(Level::Warn, "behind")],
        );
    }

    #[test]
    fn answers_are_judged() {
        let host: Host = "r.example".parse().unwrap();
        let check = |status: u16, challenge: Option<Greeted>, expect: (Level, &str)| {
            let greeting = Greeting { status, date: None, challenge };
            check(|report| answer(&host, &greeting, report), &[expect]);
        };
        let token = Greeted::Token { realm: "https://r.example/token".into(), service: None };
        check(200, None, (Level::Ok, "lets everybody ask"));
        check(401, Some(token), (Level::Ok, "asks for a token"));
        check(401, Some(Greeted::Basic), (Level::Ok, "asks for a password"));
        check(401, None, (Level::Fail, "does not say how"));
        check(404, None, (Level::Fail, "nothing at /v2/"));
        check(502, None, (Level::Fail, "the status 502"));
    }

    #[test]
    fn upstreams_are_told_of() {
        let check = |registry: Value, expect: (Level, &str)| {
            check(|report| standing("hub", &registry, report), &[expect])
        };
        check(json!({"available": true, "failures": 0}), (Level::Ok, "hub: ok"));
        check(json!({"available": true, "limit": 100, "remaining": 9}), (Level::Warn, "9 of 100"));
        check(json!({"available": true, "limit": 100, "remaining": 10}), (Level::Ok, "hub"));
        check(json!({"available": false, "failures": 5}), (Level::Warn, "5 failures in a row"));
    }

    #[test]
    fn a_proxy_is_a_way_but_not_for_all() {
        let host: Host = "r.example".parse().unwrap();
        let address: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let check = |reached: &[SocketAddr], unreached: bool, answers: bool, expect: (Level, &str)| {
            let unreached: Vec<_> =
                unreached.then(|| (address, io::ErrorKind::TimedOut.into())).into_iter().collect();
            check(|report| connections(&host, reached, &unreached, answers, report), &[expect]);
        };
        check(&[address], false, true, (Level::Ok, "can be reached"));
        check(&[address], true, true, (Level::Warn, "not all"));
        check(&[], true, true, (Level::Warn, "by a proxy only"));
        check(&[], true, false, (Level::Fail, "192.0.2.1:443: timed out"));
    }
}
