//! The audit journal: what a real server writes into it, and that a killed server has written all of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_kit::House;
use test_kit::house::{self, PASSWORD, send};

const EXE: &str = env!("CARGO_BIN_EXE_wharf");

fn records(house: &House, query: &str) -> Vec<Value> {
    let answer = house.admin.get(&format!("/api/v1/audit?order=oldest&limit=1000&{query}")).expect(200);
    answer.json()["items"].as_array().expect("a list").clone()
}

/// `action actor outcome reference` of each.
fn lines(records: &[Value]) -> Vec<String> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or("-").to_owned();
    let line =
        |record: &Value| ["action", "actor", "outcome", "reference"].map(|name| text(record, name)).join(" ");
    records.iter().map(line).collect()
}

/// Changes come into the journal shortly after they are made: waits until so many records match.
fn when_there_are(house: &House, count: usize, query: &str) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let found = records(house, query);
        if found.len() >= count || started.elapsed() > Duration::from_secs(20) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_happens_in_a_repository_is_told_with_who_and_what() {
    let house = House::start(EXE);
    house.project("team", json!({}));
    let ann = house.member("ann", "maintainer", "team");
    let guest = house.member("gus", "guest", "team");
    let image = house::push(&ann, "team/app", "v1");
    guest
        .with("User-Agent", "puller/1")
        .with("X-Request-Id", "r-77")
        .get("/v2/team/app/manifests/v1")
        .expect(200);
    guest.get(&format!("/v2/team/app/blobs/{}", image.layer)).expect(200);
    // As containerd pulls: the tag by HEAD, and then what it stands for. To look whether something is there is no pull.
    guest.head("/v2/team/app/manifests/v1").expect(200);
    guest.get(&format!("/v2/team/app/manifests/{}", image.digest)).expect(200);
    guest.head(&format!("/v2/team/app/manifests/{}", image.digest)).expect(200);
    guest.head(&format!("/v2/team/app/blobs/{}", image.layer)).expect(200);
    guest.head("/v2/team/app/manifests/v2").expect(404);
    guest.post("/v2/team/app/blobs/uploads/").expect(403);
    house.anybody().get("/v2/team/app/manifests/v1").expect(401);
    house.anybody().basic("gus", "wrong").get("/v2/team/app/manifests/v1").expect(401);
    ann.delete("/v2/team/app/manifests/v1").expect(202);
    let found = when_there_are(&house, 11, "repository=team/app");
    let mut told = lines(&found);
    told.sort();
    let mut expect = [
        "repository.created ann success -",
        "push ann success -",
        "tag.set ann success v1",
        "pull gus success v1",
        "resolve gus success v1",
        "pull gus success -",
        "pull.blob gus success -",
        "push gus denied -",
        "pull anonymous denied v1",
        "sign-in gus denied v1",
        "tag.delete ann success v1",
    ];
    expect.sort_unstable();
    assert_eq!(told, expect);
    let pull = found.iter().find(|record| record["action"] == "pull" && record["actor"] == "gus").unwrap();
    let fact = |name: &str| pull[name].as_str().unwrap_or_default();
    assert_eq!((fact("digest"), fact("project"), fact("address")), (&*image.digest, "team", "127.0.0.1"));
    assert_eq!((fact("agent"), fact("request"), fact("via")), ("puller/1", "r-77", "password"));
    let resolved = found.iter().find(|record| record["action"] == "resolve").unwrap();
    assert_eq!(resolved["digest"], image.digest, "{resolved}");
    let signed_in = records(&house, "action=sign-in&actor=gus&outcome=success");
    assert_eq!(signed_in.len(), 1, "one password, verified once: {signed_in:?}");
}

#[test]
fn changes_of_who_may_do_what_are_told() {
    let house = House::start(EXE);
    house.project("team", json!({}));
    house.user("ann");
    house.give("ann", "developer", Some("team"));
    house.robot("team", "ci", &["pull"]);
    house.take("ann", "developer", Some("team"));
    send(&house.admin, "DELETE", "/users/ann", &json!({})).expect(204);
    let told = |action: &str, entry: &str| {
        let by_admin = format!("action={action}&actor=admin");
        let found = when_there_are(&house, 1, &by_admin);
        let named = found.iter().any(|record| record["entry"] == entry && record["actor"] == "admin");
        assert!(named, "{action} {entry}: {found:?}");
    };
    told("project.create", "project team");
    told("user.create", "user ann");
    told("binding.create", "binding team developer user:ann");
    told("robot.create", "robot robot$team+ci");
    told("binding.delete", "binding team developer user:ann");
    told("user.delete", "user ann");
    let everything = records(&house, "").iter().map(Value::to_string).collect::<String>();
    assert!(!everything.contains(PASSWORD) && !everything.contains("argon2") && !everything.contains("wrt_"));
}

#[test]
fn a_project_shows_its_own_records_to_those_who_may_read_them() {
    let house = House::start(EXE);
    for project in ["team", "team/pay", "other"] {
        house.project(project, json!({}));
    }
    let ann = house.member("ann", "maintainer", "team");
    house.give("ann", "developer", Some("other"));
    for repository in ["team/app", "team/pay/app", "other/app"] {
        house::push(&ann, repository, "v1");
        ann.get(&format!("/v2/{repository}/manifests/v1")).expect(200);
    }
    let seen = |path: &str| -> Vec<String> {
        let items = ann.get(&format!("/api/v1{path}")).expect(200).json()["items"].clone();
        let name = |record: &Value| record["repository"].as_str().unwrap_or_default().to_owned();
        items.as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(seen("/projects/team/-/audit?action=pull&order=oldest"), ["team/app", "team/pay/app"]);
    assert_eq!(seen("/projects/team/-/audit?action=pull&project=team/pay"), ["team/pay/app"]);
    let elsewhere = seen("/projects/team/-/audit?action=pull&project=other&order=oldest");
    assert_eq!(elsewhere, ["team/app", "team/pay/app"], "another project cannot be asked for");
    ann.get("/api/v1/projects/other/-/audit").expect(403);
    ann.get("/api/v1/audit").expect(403);
    ann.request("POST", "/api/v1/audit/verify").send().expect(403);
}

#[test]
fn records_are_exported_as_lines_and_for_syslog() {
    let house = House::start(EXE);
    house.project("team", json!({}));
    let hostile = house.anybody().with("User-Agent", "a\"]b\\c");
    for _ in 0..3 {
        hostile.get("/v2/team/app/manifests/v1").expect(401);
    }
    let export = |format: &str| {
        let answer = house.admin.get(&format!("/api/v1/audit?format={format}&outcome=denied")).expect(200);
        String::from_utf8(answer.body.clone()).unwrap()
    };
    let lines = export("jsonl");
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&record["agent"], &record["v"]), (&json!("a\"]b\\c"), &json!(1)));
    }
    let syslog = export("syslog");
    assert_eq!(syslog.lines().count(), 3);
    assert!(
        syslog.lines().all(|line| line.starts_with("<108>1 ") && line.contains(r#"agent="a\"\]b\\c""#)),
        "{syslog}"
    );
    house.admin.get("/api/v1/audit?format=xml").expect(400);
    house.admin.get("/api/v1/audit?nothing=1").expect(400);
}

#[test]
fn a_password_that_was_right_is_told_however_many_were_not() {
    let house = House::start(EXE);
    let ann = house.user("ann");
    let start = send(&ann, "POST", "/me/totp", &json!({})).expect(201).json();
    let secret = totp_rs::Secret::try_from_base32(house::text(&start["secret"])).unwrap();
    let app = totp_rs::Builder::new().with_secret(secret).build_noncompliant();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let code = app.generate(now.as_secs()).to_string();
    send(&ann, "POST", "/me/totp/confirm", &json!({"code": code})).expect(200);
    let new = json!({"name": "bob", "password": PASSWORD, "must_change_password": true});
    send(&house.admin, "POST", "/users", &new).expect(201);

    // Of this address, no more refusals of nobody in particular are written in this minute.
    let unreadable = house.anybody().with("Authorization", "Basic ?");
    for _ in 0..130 {
        unreadable.get("/v2/").expect(401);
    }
    let session = json!({"user": "ann", "password": PASSWORD});
    let form = [("grant_type", "password"), ("username", "ann"), ("password", PASSWORD)];
    ann.get("/v2/").expect(401);
    ann.get("/api/v1/me").expect(401);
    ann.get("/token?service=wharf").expect(401);
    house::post_form(&house.anybody(), &form).expect(401);
    send(&house.anybody(), "POST", "/session", &session).expect(401);
    ann.with("X-Wharf-OTP", &code).get("/api/v1/me").expect(401);
    house.anybody().basic("bob", PASSWORD).get("/v2/").expect(401);
    house.anybody().basic("eve", PASSWORD).get("/v2/").expect(401);
    let told = |actor: &str| {
        let found = records(&house, &format!("action=sign-in&outcome=denied&actor={actor}"));
        let facts = found.iter().map(|record| format!("{} {}", record["status"], record["detail"]));
        facts.collect::<Vec<_>>()
    };
    let right = |what: &str| format!("401 \"the password was right; {what}\"");
    let wanted = right("a second factor is wanted");
    let mut of_ann = vec![wanted; 5];
    of_ann.push(right("the code was wrong"));
    assert_eq!(told("ann"), of_ann);
    assert_eq!(told("bob"), [right("it must be changed first")]);
    assert_eq!(told("eve"), Vec::<String>::new(), "a guess that was wrong");
}

#[test]
fn a_change_of_the_journal_is_noticed() {
    let house = House::start(EXE);
    let verify = || house.admin.request("POST", "/api/v1/audit/verify").send().expect(200).json();
    house.anybody().basic("eve", "wrong").get("/v2/").expect(401);
    let started = Instant::now();
    // Seals come each second.
    while verify()["sealed_through"].as_u64().unwrap_or(0) == 0 && started.elapsed() < Duration::from_secs(20)
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(verify()["sound"], true);
    let folder = house.server.data().join("audit");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).min().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"eve\""));
    std::fs::write(&file, text.replace("\"eve\"", "\"bob\"")).unwrap();
    let report = verify();
    assert_eq!(report["sound"], false, "{report}");
    assert!(!report["problems"].as_array().unwrap().is_empty());
}

#[test]
fn a_killed_server_has_written_each_pull_that_it_answered() {
    let mut house = House::start(EXE);
    house.project("open", json!({"public": true}));
    house::push(&house.admin, "open/app", "v1");
    for round in 0..3 {
        for n in 0..200 {
            let asked = house.anybody().with("X-Request-Id", format!("kill-{round}-{n}"));
            asked.get("/v2/open/app/manifests/v1").expect(200);
        }
        house.server.kill();
        house.server.restart();
        let found = records(&house, &format!("action=pull&text=kill-{round}-"));
        assert_eq!(found.len(), 200, "round {round}");
    }
    let report = house.admin.request("POST", "/api/v1/audit/verify").send().expect(200).json();
    assert_eq!(report["sound"], true, "{report}");
}

#[test]
fn a_session_that_is_signed_out_is_over_and_the_journal_says_so() {
    let mut house = House::start(EXE);
    house.user("ann");
    let client = house.anybody().with("User-Agent", "curl/8").with("X-Request-Id", "r-out");
    let open = || {
        let body = json!({"user": "ann", "password": PASSWORD});
        house::text(&send(&client, "POST", "/session", &body).expect(201).json()["token"])
    };
    let [session, other] = [open(), open()].map(|token| client.bearer(&token));
    session.get("/api/v1/me").expect(200);
    session.delete("/api/v1/session").expect(204);
    session.get("/api/v1/me").expect(401);
    session.delete("/api/v1/session").expect(401);
    client.basic("ann", PASSWORD).delete("/api/v1/session").expect(400);
    house.server.restart();
    session.get("/api/v1/me").expect(401);
    other.get("/api/v1/me").expect(200);
    let told = when_there_are(&house, 1, "action=sign-out");
    let fact = |name: &str| told[0][name].as_str().unwrap_or_default();
    assert_eq!(["actor", "address", "agent", "request"].map(fact), ["ann", "127.0.0.1", "curl/8", "r-out"]);
    assert!(fact("entry").starts_with("ended-session "), "{told:?}");
}
