//! What it costs to know who pulls, and to write down that they did: Wharf beside itself.

use super::client::{self, Blob};
use super::context::{self, Context};
use super::load::{self, Plan, Stop};
use super::memory::FullPageCache;
use super::pairs::{self, Contestant, Goal, Measure};
use super::payload::{self, Part};
use super::report::Section;
use super::server::{Kind, Server};
use access::{Action, Actor, Projects, ROLES, Rights, Settings, Subject, Target};
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::ProjectName;
use std::sync::Arc;
use std::time::Instant;

const REPOSITORY: &str = "bench/image";

/// A server with some settings, and the header that its requests carry.
struct Setting {
    name: &'static str,
    server: Server,
    header: String,
}

/// GET of a hot manifest: by nobody in particular and by a user, with the audit journal and without.
pub fn run(context: &Context) -> Result<Section> {
    let mut section =
        Section::new("access", "Manifest GET with users and the audit journal, beside itself without");
    // The journal writes through the page cache, some fifteen megabytes a second at this rate.
    let _full =
        context.scaled(true, false).then(|| FullPageCache::new(&context.folder("memory"))).transpose()?;
    let manifest = manifest();
    let open = |name, audit| Setting::open(context, name, audit, &manifest);
    let plain = open("open, no audit", "false")?;
    let audited = open("open, audited", "true")?;
    let (basic, bearer) = (Setting::signed_in(context, "password", "false", &manifest)?, "token");
    let token = Setting::signed_in(context, bearer, "false", &manifest)?;
    let both = Setting::signed_in(context, "token, audited", "true", &manifest)?;
    let all = [&token, &plain, &basic, &both, &audited];
    for reference in ["latest", &payload::digest_of(&manifest)] {
        let by = if reference == "latest" { "tag" } else { "digest" };
        let series = pairs::run(
            context.options.pairs,
            all.iter().map(|setting| setting.contestant(context, reference, manifest.len())).collect(),
        )?;
        let [token, plain, basic, both, audited] = &series[..] else { unreachable!("five were measured") };
        let mut compare = |what: &str, one: &pairs::Series, other: &pairs::Series, goal: f64| {
            let case = format!("GET manifest by {by}, 8 connections, {what}");
            let series = [one.clone(), other.clone()];
            section.compare(pairs::compare(&case, &series, &[Goal::AtMost(goal)], Measure::Cpu));
        };
        compare("with an access token", token, plain, 1.2);
        compare("with a password", basic, plain, 1.2);
        compare("the journal, nobody in particular", audited, plain, 1.1);
        compare("the journal, with an access token", both, token, 1.1);
    }
    decisions(context, &mut section);
    for setting in [plain, audited, basic, token, both] {
        let folder = setting.server.folder.clone();
        setting.server.stop()?;
        context::remove(&folder)?;
    }
    Ok(section)
}

/// How long a decision takes where there are many to decide about: 10,000 users with a dozen roles each, in 1,000
/// projects that lie three deep within one another.
fn decisions(context: &Context, section: &mut Section) {
    let name = |n: usize| match n % 3 {
        0 => format!("team-{n}"),
        1 => format!("team-{}/part-{n}", n - 1),
        _ => format!("team-{}/part-{}/deep-{n}", n - 2, n - 1),
    };
    let names: Vec<ProjectName> = (0..1_000).filter_map(|n| name(n).parse().ok()).collect();
    let projects = Projects::new(names.iter().map(|name| (name.clone(), Settings::default())), 1);
    let users: Vec<Subject> = (0..10_000_usize)
        .map(|user| {
            let mut rights = Rights::default();
            for role in 0..12_usize {
                let place = &names[(user * 31 + role * 101) % names.len()];
                rights.give(Some(place), ROLES[role % 5].actions);
            }
            Subject::new(Actor::User(format!("user-{user}").into()), "bench", Arc::new(rights))
        })
        .collect();
    let targets: Vec<Target> = (0..names.len())
        .filter_map(|n| format!("{}/app", names[n]).parse().ok().map(Target::Repository))
        .collect();
    let count: usize = context.scaled(2_000_000, 20_000);
    let mut allowed = 0_usize;
    let started = Instant::now();
    for n in 0..count {
        // Every other time where the user has a role, whatever that allows.
        let who = n * 7_919 % users.len();
        let place = if n.is_multiple_of(2) { who * 31 + n / 2 % 12 * 101 } else { n * 104_729 };
        let (user, target) = (&users[who], &targets[place % targets.len()]);
        allowed += usize::from(access::allowed(&projects, user, Action::Push, target));
    }
    let nanoseconds = started.elapsed().as_nanos() as f64 / count as f64;
    let what = format!("a decision, 10,000 users x 1,000 projects ({allowed} of {count} allowed)");
    section.goal(what, format!("{nanoseconds:.0} ns"), "< 10 us", nanoseconds < 10_000.0);
}

impl Setting {
    fn open(context: &Context, name: &'static str, audit: &str, manifest: &[u8]) -> Result<Setting> {
        let folder = fresh(context, name)?;
        let settings = [("WHARF_AUTH_MODE", "off"), ("WHARF_AUDIT_ENABLED", audit)];
        let server = Server::start_with(Kind::Wharf, &context.programs, &folder, &settings)?;
        store(&server, manifest)?;
        Ok(Setting { name, server, header: String::new() })
    }

    /// Fills a store while nobody is asked who they are, and serves it to its administrator.
    fn signed_in(context: &Context, name: &'static str, audit: &str, manifest: &[u8]) -> Result<Setting> {
        let filled = Setting::open(context, name, "false", manifest)?;
        let folder = filled.server.folder.clone();
        filled.server.stop()?;
        let settings = [("WHARF_AUTH_MODE", "on"), ("WHARF_AUDIT_ENABLED", audit)];
        let server = Server::start_with(Kind::Wharf, &context.programs, &folder, &settings)?;
        let log = std::fs::read_to_string(folder.join("log"))?;
        let password = log.lines().find_map(|line| line.strip_prefix("    "));
        let credential = format!("admin:{}", password.context("the first start prints a password")?.trim());
        let mut header = format!("authorization: Basic {}\r\n", STANDARD.encode(credential));
        if name.starts_with("token") {
            let path = format!("/token?service=wharf&scope=repository:{REPOSITORY}:pull");
            let answer = server.connect()?.fetch(&client::request("GET", &path, &header), &[])?;
            ensure!(answer.status == 200, "the token service answers {}", answer.status);
            let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
            let token = body["token"].as_str().context("a token")?;
            header = format!("authorization: Bearer {token}\r\n");
        }
        Ok(Setting { name, server, header })
    }

    fn contestant<'a>(&'a self, context: &'a Context, reference: &str, size: usize) -> Contestant<'a> {
        let head = format!("accept: {}\r\n{}", client::MANIFEST_TYPE, self.header);
        let request = client::request("GET", &client::manifest_path(REPOSITORY, reference), &head);
        let plan = Plan { connections: 8, stop: Stop::After(context.sample_time()), first: 0 };
        Contestant {
            name: self.name.to_owned(),
            measure: Box::new(move |_| {
                load::measure(&self.server, plan, &|connection, _| {
                    let length = connection.exchange(&request, &[], 200)?;
                    ensure!(length == size as u64, "a body of {length} bytes instead of {size}");
                    Ok(length)
                })
            }),
        }
    }
}

fn fresh(context: &Context, name: &str) -> Result<std::path::PathBuf> {
    let folder = context.folder(&format!("access-{}", name.replace([' ', ','], "-")));
    context::remove(&folder)?;
    Ok(folder)
}

fn contents() -> Vec<Vec<u8>> {
    (0..7).map(|seed| payload::random_bytes(4096, 100 + seed)).collect()
}

fn manifest() -> Vec<u8> {
    let contents = contents();
    let part = |bytes: &Vec<u8>| Part { digest: payload::digest_of(bytes), size: bytes.len() };
    let layers: Vec<Part> = contents[1..].iter().map(part).collect();
    payload::manifest(&part(&contents[0]), &layers)
}

fn store(server: &Server, manifest: &[u8]) -> Result<()> {
    for bytes in contents() {
        server.store_blob(REPOSITORY, &Blob { digest: payload::digest_of(&bytes), parts: vec![&bytes] })?;
    }
    server.store_manifest(REPOSITORY, "latest", manifest)
}
