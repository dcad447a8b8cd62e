//! `wharf doctor`: looks at a registry, the way to it and this machine, and says what to do.

mod machine;
mod server;

use std::fmt::Display;

use anyhow::{Result, bail};
use serde_json::json;

use crate::Verdict;
use crate::args::machines::DoctorFlags;
use crate::out::Out;
use crate::text::clean;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    /// It works, and may not for long, or not for everybody.
    Warn,
    Fail,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// What was looked at, in a word.
    what: &'static str,
    /// How it is.
    message: String,
    /// What to do; empty where nothing is.
    advice: String,
}

/// All that was looked at.
#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn ok(&mut self, what: &'static str, message: impl Display) {
        self.add(Level::Ok, what, message, "");
    }

    fn warn(&mut self, what: &'static str, message: impl Display, advice: impl Display) {
        self.add(Level::Warn, what, message, advice);
    }

    fn fail(&mut self, what: &'static str, message: impl Display, advice: impl Display) {
        self.add(Level::Fail, what, message, advice);
    }

    fn add(&mut self, level: Level, what: &'static str, message: impl Display, advice: impl Display) {
        let (message, advice) = (clean(&message.to_string()), clean(&advice.to_string()));
        self.0.push(Finding { level, what, message, advice });
    }

    fn print(&self, out: &mut Out, as_json: bool) -> Result<()> {
        if as_json {
            let all = self.0.iter().map(|Finding { level, what, message, advice }| {
                json!({"level": level.name(), "what": what, "message": message, "advice": advice})
            });
            return out.line(all.collect::<serde_json::Value>());
        }
        for Finding { level, what, message, advice } in &self.0 {
            let advice = if advice.is_empty() { String::new() } else { format!(". {advice}") };
            out.line(format_args!("{:<4}  {what:<11}  {message}{advice}", level.name()))?;
        }
        Ok(())
    }
}

pub(crate) async fn run(flags: &DoctorFlags, out: &mut Out) -> Result<Verdict> {
    let mut report = Report::default();
    let host = flags.host.as_ref().or(flags.image.as_ref().map(|image| &image.host));
    if let Some(host) = host {
        server::look(host, flags, &mut report).await;
    }
    machine::look(&flags.root, host, flags.connect.ca.is_some(), &mut report);
    if report.0.is_empty() {
        bail!(
            "this machine pulls through no registry: name one to look at, as in `wharf doctor registry.example.com`"
        );
    }
    report.print(out, flags.json)?;
    out.finish()?;
    let is_bad = report.0.iter().any(|finding| finding.level == Level::Fail);
    Ok(if is_bad { Verdict::Bad } else { Verdict::Good })
}
