//! The audit journal: searched, exported and verified.

use std::path::PathBuf;
use std::sync::Arc;

use access::{Action, Target};
use audit::{AuditError, Journal, Outcome, Page, Query, Record, SealKey, Window};
use chrono::{DateTime, Utc};
use futures_util::stream::try_unfold;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_kit::{Body, Query as Pairs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::parameter::{Form, Parameter};
use crate::problem::Problem;
use crate::reply::{LINES, Reply};

/// Where the journal is, and the key of its seals.
#[derive(Clone)]
pub struct JournalPlace {
    /// Its folder.
    pub folder: PathBuf,
    /// The key, where it has one.
    pub key: Option<Arc<SealKey>>,
    /// What this machine is called in syslog lines.
    pub hostname: Arc<str>,
    /// The journal itself, where this process writes it: it has records that are in no file yet.
    pub writer: Option<Arc<Journal>>,
}

impl JournalPlace {
    fn search(&self, query: &Query, window: &Window) -> Result<Page, AuditError> {
        self.settle();
        audit::search(&self.folder, query, window)
    }

    fn verify(&self) -> Result<audit::Report, AuditError> {
        self.settle();
        audit::verify(&self.folder, self.key.as_deref())
    }

    /// What cannot be written down yet is not found yet; that is no reason to find nothing.
    fn settle(&self) {
        if let Some(Err(error)) = self.writer.as_ref().map(|writer| writer.settle()) {
            tracing::warn!(%error, "the newest records cannot be searched");
        }
    }
}

/// The most records on a page.
const PAGE: usize = 1_000;

/// The media type of syslog lines.
pub(crate) const SYSLOG: &str = "text/plain; charset=utf-8";

/// What can be asked for.
pub(crate) const SEARCH: &[Parameter] = &[
    Parameter::new("from", Form::Moment, "no records before this moment"),
    Parameter::new("until", Form::Moment, "only records before this moment"),
    Parameter::new("actor", Form::Text("ann"), "who did it"),
    Parameter::new("action", Form::Text("push"), "what was done"),
    Parameter::new("outcome", Form::OneOf(&["success", "denied", "failed"]), "how it ended"),
    Parameter::new("project", Form::Text("team"), "in this project or below it"),
    Parameter::new("repository", Form::Text("team/app"), "in this repository"),
    Parameter::new("digest", Form::Text("sha256:..."), "what was pulled, pushed or deleted"),
    Parameter::new("address", Form::Text("192.0.2.7"), "from where"),
    Parameter::new("request", Form::Text("0192f3a4"), "the id of the request"),
    Parameter::new("text", Form::Text("latest"), "anywhere in the record"),
    Parameter::new("after", Form::Number, "the `next` of the page before"),
    Parameter::new("limit", Form::Number, "the most records on a page: 100 unless told, at most 1000"),
    Parameter::new("order", Form::OneOf(&["newest", "oldest"]), "which records come first"),
    Parameter::new(
        "format",
        Form::OneOf(&["json", "jsonl", "syslog"]),
        "a page, or all that there is as lines",
    ),
];

/// A page of records.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RecordPage {
    /// The records. There may be none, though there are more.
    items: Vec<Record>,
    /// Where the next page begins, if there is one: after this.
    next: Option<u64>,
    /// How many damaged lines were passed over.
    damaged: u64,
}

/// Whether the journal is as it was written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Verdict {
    /// Whether nothing is wrong with it.
    sound: bool,
    /// How many files there are.
    files: u64,
    /// How many records there are.
    records: u64,
    /// The last record that a seal covers.
    sealed_through: u64,
    /// How many records come after the last seal.
    unsealed: u64,
    /// What is wrong.
    problems: Vec<String>,
    /// How many more problems there are.
    more_problems: u64,
}

/// What is asked for.
struct Wanted {
    query: Query,
    window: Window,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Page,
    JsonLines,
    Syslog,
}

pub(crate) async fn search(call: &Call) -> Result<Reply, Problem> {
    let place = place(call)?;
    let mut wanted = wanted(&call.query)?;
    if let Target::Project(project) = call.grant()?.target() {
        let within = wanted.query.project.as_ref().filter(|asked| {
            asked.strip_prefix(project.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        wanted.query.project = Some(within.cloned().unwrap_or_else(|| project.to_string()));
    }
    if wanted.format != Format::Page {
        return Ok(export(place, wanted));
    }
    let Page { records, next, damaged } = look(place, wanted.query, wanted.window).await?;
    Reply::json(&RecordPage { items: records, next, damaged })
}

pub(crate) async fn verify(call: &Call) -> Result<Verdict, Problem> {
    let place = place(call)?;
    debug_assert_eq!(call.grant()?.action(), Action::ReadAudit);
    let work = tokio::task::spawn_blocking(move || place.verify());
    let report = work.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(Verdict {
        sound: report.is_sound(),
        files: report.files,
        records: report.records,
        sealed_through: report.sealed_through,
        unsealed: report.unsealed,
        problems: report.problems.iter().map(ToString::to_string).collect(),
        more_problems: report.more_problems,
    })
}

fn place(call: &Call) -> Result<JournalPlace, Problem> {
    call.edge.journal.clone().ok_or_else(|| {
        Problem::new(StatusCode::CONFLICT, "there is no audit journal: it is off in the configuration")
    })
}

async fn look(place: JournalPlace, query: Query, window: Window) -> Result<Page, Problem> {
    let work = tokio::task::spawn_blocking(move || place.search(&query, &window));
    work.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

/// All that matches, as it is found: memory does not grow with it.
fn export(place: JournalPlace, wanted: Wanted) -> Reply {
    let Wanted { query, window, format } = wanted;
    let lines = try_unfold(Some(window), move |state| {
        let (place, query) = (place.clone(), query.clone());
        let hostname = Arc::clone(&place.hostname);
        async move {
            let Some(window) = state else { return Ok::<_, std::io::Error>(None) };
            let work = tokio::task::spawn_blocking(move || place.search(&query, &window));
            let page = work.await.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
            let line = |record: &Record| match format {
                Format::Syslog => audit::syslog(record, &hostname),
                Format::Page | Format::JsonLines => audit::json_line(record),
            };
            let text: String = page.records.iter().map(|record| line(record) + "\n").collect();
            Ok(Some((text.into(), page.next.map(|next| Window { after: Some(next), ..window }))))
        }
    });
    let mut response = Response::new(Body::stream(lines, None));
    let media_type = if format == Format::Syslog { SYSLOG } else { LINES };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Reply(response)
}

fn failed(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "the audit journal could not be read");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the audit journal could not be read: {error}"))
}

fn wanted(query: &str) -> Result<Wanted, Problem> {
    let mut wanted = Wanted {
        query: Query::default(),
        window: Window { records: 100, ..Window::default() },
        format: Format::Page,
    };
    for (name, value) in Pairs::form(query).pairs() {
        let value = value.into_owned();
        let number = || value.parse().map_err(|_| Problem::invalid(&format!("`{name}` is a number")));
        match name {
            "from" => wanted.query.from = Some(moment(&value)?),
            "until" => wanted.query.until = Some(moment(&value)?),
            "actor" => wanted.query.actor = Some(value),
            "action" => wanted.query.action = Some(value),
            "outcome" => wanted.query.outcome = Some(outcome(&value)?),
            "project" => wanted.query.project = Some(value),
            "repository" => wanted.query.repository = Some(value),
            "digest" => wanted.query.digest = Some(value),
            "address" => wanted.query.address = Some(value),
            "request" => wanted.query.request = Some(value),
            "text" => wanted.query.text = Some(value),
            "after" => wanted.window.after = Some(number()?),
            "limit" => wanted.window.records = usize::try_from(number()?).unwrap_or(PAGE).clamp(1, PAGE),
            "order" => wanted.window.newest_first = order(&value)?,
            "format" => wanted.format = format(&value)?,
            _ => return Err(Problem::invalid(&format!("there is no parameter `{name}`: see docs/audit.md"))),
        }
    }
    if wanted.format != Format::Page {
        wanted.window.records = PAGE;
    }
    Ok(wanted)
}

fn moment(text: &str) -> Result<i64, Problem> {
    let time = text.parse::<DateTime<Utc>>();
    time.map(|time| time.timestamp_micros())
        .map_err(|_| Problem::invalid(&"a moment is written as 2027-01-31T12:00:00Z"))
}

fn outcome(text: &str) -> Result<Outcome, Problem> {
    Outcome::from_name(text).ok_or_else(|| Problem::invalid(&"an outcome is success, denied or failed"))
}

fn order(text: &str) -> Result<bool, Problem> {
    match text {
        "newest" => Ok(true),
        "oldest" => Ok(false),
        _ => Err(Problem::invalid(&"the order is newest or oldest")),
    }
}

fn format(text: &str) -> Result<Format, Problem> {
    match text {
        "json" => Ok(Format::Page),
        "jsonl" => Ok(Format::JsonLines),
        "syslog" => Ok(Format::Syslog),
        _ => Err(Problem::invalid(&"the format is json, jsonl or syslog")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_is_what_is_taken() {
        for parameter in SEARCH {
            let question = format!("{}={}", parameter.name, parameter.example());
            assert!(wanted(&question).is_ok(), "{question}");
        }
        // Each arm of the match above that takes a name has a line in the table.
        let source = include_str!("journal.rs");
        let arms =
            source.lines().filter(|line| line.trim_start().starts_with('"') && line.contains("=> wanted."));
        assert_eq!(arms.count(), SEARCH.len());
    }

    #[test]
    fn questions_are_read() {
        let good = wanted(
            "from=2027-01-01T00:00:00Z&actor=ann&action=pull&outcome=denied&limit=5000&order=oldest&text=a+b",
        );
        let Wanted { query, window, format } = good.unwrap_or_else(|_| panic!("a good question"));
        assert_eq!((query.from, query.actor.as_deref()), (Some(1_798_761_600_000_000), Some("ann")));
        assert_eq!((query.outcome, query.text.as_deref()), (Some(Outcome::Denied), Some("a b")));
        assert_eq!((window.records, window.newest_first), (PAGE, false));
        assert!(format == Format::Page);
        for bad in ["from=now", "outcome=good", "limit=x", "order=up", "format=xml", "nothing=1"] {
            assert_eq!(
                wanted(bad).err().map(|problem| problem.status),
                Some(StatusCode::BAD_REQUEST),
                "{bad}"
            );
        }
    }
}
