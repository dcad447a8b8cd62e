//! `wharf audit`.

use anyhow::{Result, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use super::print::{self, Column, cell};
use super::session::{Pages, Path, Session};
use crate::Verdict;
use crate::args::accounts::{
    AuditCommand, AuditExport, AuditFilters, AuditForm, AuditSearch, SessionFlags, When,
};
use crate::out::Out;
use crate::text::{clean, count};

/// The most pages of a search: a server that never comes to an end must not be followed for ever.
const PAGES: usize = 10_000;

/// The most records that a page has.
const PAGE: usize = 1_000;

const COLUMNS: &[Column] = &[
    Column("time", |record| cell(&record["time"])),
    Column("actor", |record| cell(&record["actor"])),
    Column("action", |record| cell(&record["action"])),
    Column("outcome", |record| cell(&record["outcome"])),
    Column("what", what),
    Column("address", |record| cell(&record["address"])),
];

pub(super) async fn run(command: AuditCommand, out: &mut Out) -> Result<Verdict> {
    match command {
        AuditCommand::Search(flags) => search(&flags, out).await?,
        AuditCommand::Export(flags) => export(&flags, out).await?,
        AuditCommand::Verify(flags) => return verify(&flags, out).await,
    }
    Ok(Verdict::Good)
}

async fn search(flags: &AuditSearch, out: &mut Out) -> Result<()> {
    let session = Session::open(&flags.session)?;
    let (path, filters) = (path(&flags.filters), query(&flags.filters, Utc::now()));
    let most = usize::try_from(flags.limit)?;
    let work = async |pages: &mut Pages<'_>| {
        let (mut records, mut damaged, mut after) = (Vec::new(), 0, None);
        for _ in 0..PAGES {
            let mut query = filters.clone();
            query.push(("limit", (most - records.len()).min(PAGE).to_string()));
            query.extend(after.map(|after: u64| ("after", after.to_string())));
            let mut page = pages.read(&path, &query).await?;
            let room = most - records.len();
            records.extend(session.items(&mut page)?.into_iter().take(room));
            damaged += page["damaged"].as_u64().unwrap_or(0);
            after = page["next"].as_u64();
            if after.is_none() || records.len() == most {
                return Ok((records, damaged));
            }
        }
        bail!("the search has not ended after {PAGES} pages: narrow it with --from and --until")
    };
    let (records, damaged) = session.pages(work).await?;
    if damaged > 0 {
        let lines = count(damaged, "damaged line");
        eprintln!("wharf: {lines} passed over: see `wharf audit verify {}`", flags.session.host);
    }
    print::list(out, flags.session.json, records, COLUMNS)
}

async fn export(flags: &AuditExport, out: &mut Out) -> Result<()> {
    let mut query = query(&flags.filters, Utc::now());
    let form = match flags.format {
        Some(AuditForm::Syslog) => "syslog",
        Some(AuditForm::Jsonl) | None => "jsonl",
    };
    query.push(("format", form.into()));
    Session::open(&flags.session)?.pour(&path(&flags.filters), &query, out).await
}

async fn verify(flags: &SessionFlags, out: &mut Out) -> Result<Verdict> {
    let report = Session::open(flags)?.send("POST", &Path::of(&["audit", "verify"]), Value::Null).await?;
    let lines = if flags.json { vec![report.to_string()] } else { report_lines(&report) };
    lines.iter().try_for_each(|line| out.line(line))?;
    Ok(if report["sound"] == true { Verdict::Good } else { Verdict::Bad })
}

/// The journal of a project, or that of the registry.
fn path(filters: &AuditFilters) -> Path {
    Path::within(filters.project.as_ref(), &["audit"])
}

fn query(filters: &AuditFilters, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
    let moment = |when: When| when.moment(now).to_rfc3339_opts(SecondsFormat::Micros, true);
    let all = [
        ("from", filters.from.map(moment)),
        ("until", filters.until.map(moment)),
        ("actor", filters.actor.clone()),
        ("action", filters.action.clone()),
        ("outcome", filters.outcome.clone()),
        ("repository", filters.repository.clone()),
        ("digest", filters.digest.clone()),
        ("address", filters.address.clone()),
        ("request", filters.request.clone()),
        ("text", filters.text.clone()),
        ("order", filters.oldest_first.then(|| "oldest".into())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What it was done to.
fn what(record: &Value) -> String {
    let Some(repository) = record["repository"].as_str() else { return cell(&record["entry"]) };
    let repository = clean(repository);
    match (record["reference"].as_str(), record["digest"].as_str()) {
        (Some(reference), _) if !reference.contains(':') => format!("{repository}:{}", clean(reference)),
        (Some(digest), _) | (None, Some(digest)) => format!("{repository}@{}", clean(digest)),
        (None, None) => repository,
    }
}

fn report_lines(report: &Value) -> Vec<String> {
    let mut lines: Vec<String> = report["problems"].as_array().into_iter().flatten().map(cell).collect();
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    if number("more_problems") > 0 {
        lines.push(format!("and {} more", number("more_problems")));
    }
    let verdict = if report["sound"] == true { "the journal is sound" } else { "the journal is NOT sound" };
    lines.push(format!(
        "{verdict}: {} in {}, sealed through record {}, {} not sealed yet",
        count(number("records"), "record"),
        count(number("files"), "file"),
        number("sealed_through"),
        number("unsealed"),
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn records_say_what_it_was_done_to() {
        let check = |record: Value, expect: &str| assert_eq!(what(&record), expect, "{record}");
        check(json!({"repository": "team/app", "reference": "v1", "digest": "sha256:ab"}), "team/app:v1");
        check(json!({"repository": "team/app", "reference": "sha256:ab"}), "team/app@sha256:ab");
        check(json!({"repository": "team/app", "digest": "sha256:ab"}), "team/app@sha256:ab");
        check(json!({"repository": "team/app"}), "team/app");
        check(json!({"entry": "user ann"}), "user ann");
        check(json!({"repository": "a\u{1b}[2J", "reference": "b\n"}), "a [2J:b ");
        check(json!({}), "-");
    }

    #[test]
    fn filters_become_a_query() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let filters = AuditFilters {
            project: Some("team".parse().unwrap()),
            from: Some(When::Ago(Duration::from_secs(3_600))),
            text: Some("a&b".into()),
            oldest_first: true,
            ..AuditFilters::default()
        };
        let expect = [("from", "2027-01-15T07:00:00.000000Z"), ("text", "a&b"), ("order", "oldest")];
        assert_eq!(query(&filters, now), expect.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(query(&AuditFilters::default(), now), []);
    }

    #[test]
    fn reports_tell_each_problem() {
        let check = |report: Value, expect: &[&str]| assert_eq!(report_lines(&report), expect);
        check(
            json!({"sound": true, "files": 1, "records": 2, "sealed_through": 2, "unsealed": 0, "problems": []}),
            &["the journal is sound: 2 records in 1 file, sealed through record 2, 0 not sealed yet"],
        );
        check(
            json!({"sound": false, "problems": ["p\r"], "more_problems": 3}),
            &[
                "p ",
                "and 3 more",
                "the journal is NOT sound: 0 records in 0 files, sealed through record 0, 0 not sealed yet",
            ],
        );
    }
}
