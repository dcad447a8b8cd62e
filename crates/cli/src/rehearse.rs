//! `wharf rehearse outage`: cuts an upstream off, watches who is served meanwhile, and says whether anybody noticed.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::Verdict;
use crate::accounts::print;
use crate::accounts::session::Path;
use crate::args::upstreams::{OutageFlags, RehearseCommand};
use crate::host::Host;
use crate::out::Out;
use crate::reach::{self, Server};
use crate::text::{clean, count};

/// How often the counts are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was answered since the rehearsal began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answers {
    /// From what is here.
    here: u64,
    /// Of these, those that may be old.
    stale: u64,
    /// With nothing.
    failed: u64,
}

impl Answers {
    /// All that an upstream has counted.
    fn of(upstream: &Value) -> Self {
        let number = |name: &str| upstream["stats"][name].as_u64().unwrap_or(0);
        Self { here: number("hits"), stale: number("stale"), failed: number("failures") }
    }

    /// What came after `before`. A server that was started anew counts from the beginning.
    fn since(self, before: Self) -> Self {
        if self.here < before.here || self.failed < before.failed {
            return self;
        }
        let Self { here, stale, failed } = self;
        Self {
            here: here - before.here,
            stale: stale.saturating_sub(before.stale),
            failed: failed - before.failed,
        }
    }

    /// The numbers, and what they mean.
    fn report(&self) -> String {
        let Self { here, stale, failed } = *self;
        let verdict = match (here, failed) {
            (0, 0) => "Nobody asked, so there was nothing to notice: rehearse while there is work".to_owned(),
            (_, 0) if stale == 0 => "Nobody noticed".to_owned(),
            (_, 0) => "Nobody noticed, but who reads warnings".to_owned(),
            (_, failed) => {
                format!(
                    "Somebody noticed: {} asked for what is not here yet, or is nowhere",
                    count(failed, "request")
                )
            }
        };
        let stale = match stale {
            0 => String::new(),
            stale => format!(" ({stale} with a warning that it may be old)"),
        };
        format!(
            "manifests and blobs answered from what is here: {here}{stale}; failed: {failed}.\n{verdict}."
        )
    }
}

pub(crate) async fn run(command: RehearseCommand, host: &dyn Host, out: &mut Out) -> Result<Verdict> {
    let RehearseCommand::Outage(flags) = command;
    let path = Path::of(&["upstreams", &flags.upstream, "outage"]);
    if flags.end {
        let end = async |mut server: Server<'_, '_>| server.send("DELETE", &path, &Value::Null).await;
        let answer = reach::with(&flags.server, host, end).await?;
        let sentence = format_args!("{} is asked again", flags.upstream);
        print::done(out, flags.server.json, &answer, sentence)?;
        out.finish()?;
        return Ok(Verdict::Good);
    }
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be noticed")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("interrupts cannot be noticed")?;
    let work = async |server: Server<'_, '_>| {
        rehearse(server, &flags, &path, [&mut terminate, &mut interrupt]).await
    };
    let answers = reach::with(&flags.server, host, work).await?;
    let noticed = answers.failed > 0;
    if flags.server.json {
        let Answers { here, stale, failed } = answers;
        out.line(json!({
            "upstream": flags.upstream, "here": here, "stale": stale, "failed": failed, "noticed": noticed,
        }))?;
    } else {
        out.line(answers.report())?;
    }
    out.finish()?;
    Ok(if noticed { Verdict::Bad } else { Verdict::Good })
}

/// Cuts the upstream off until the time is over or a signal comes; what was answered meanwhile.
async fn rehearse(
    mut server: Server<'_, '_>,
    flags: &OutageFlags,
    path: &Path,
    [terminate, interrupt]: [&mut Signal; 2],
) -> Result<Answers> {
    let before = Answers::of(&server.upstream(&flags.upstream).await?);
    server.send("PUT", path, &json!({"seconds": flags.lasts.as_secs()})).await?;
    let end = Instant::now() + flags.lasts;
    eprintln!("{} is cut off for {} s. Ctrl-C ends it early", clean(&flags.upstream), flags.lasts.as_secs());
    let mut last = Answers::default();
    loop {
        let next = Instant::now() + LOOK_EVERY;
        tokio::select! {
            () = sleep_until(next.min(end)) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if Instant::now() >= end {
            break;
        }
        match server.upstream(&flags.upstream).await {
            Ok(upstream) => {
                let now = Answers::of(&upstream).since(before);
                if now != last {
                    let Answers { here, stale, failed } = now;
                    eprintln!("{here} from here, {stale} of them perhaps old, {failed} failed");
                    last = now;
                }
            }
            // It may be back the next time; the rehearsal goes on without us.
            Err(error) => eprintln!("wharf: the counts could not be read: {error:#}"),
        }
    }
    server.send("DELETE", path, &Value::Null).await.with_context(|| {
        format!(
            "the rehearsal could not be ended: it ends by itself, or by `wharf rehearse outage {} --end`",
            clean(&flags.upstream)
        )
    })?;
    Ok(Answers::of(&server.upstream(&flags.upstream).await?).since(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(here: u64, stale: u64, failed: u64) -> Answers {
        Answers { here, stale, failed }
    }

    #[test]
    fn what_was_before_does_not_count() {
        let check = |now: Answers, before: Answers, expect: Answers| assert_eq!(now.since(before), expect);
        check(answers(10, 3, 1), answers(4, 1, 1), answers(6, 2, 0));
        check(answers(2, 0, 1), answers(4, 1, 0), answers(2, 0, 1));
        let upstream = json!({"stats": {"hits": 5, "stale": 2, "failures": 1, "misses": 9}});
        assert_eq!(Answers::of(&upstream), answers(5, 2, 1));
    }

    #[test]
    fn the_report_says_whether_anybody_noticed() {
        let check = |answers: Answers, expect: &[&str]| {
            let report = answers.report();
            for text in expect {
                assert!(report.contains(text), "{report}");
            }
        };
        check(answers(0, 0, 0), &["failed: 0.", "Nobody asked"]);
        check(answers(7, 0, 0), &["from what is here: 7;", "\nNobody noticed."]);
        check(answers(7, 2, 0), &["7 (2 with a warning that it may be old)", "but who reads warnings."]);
        check(answers(7, 2, 1), &["failed: 1.", "Somebody noticed: 1 request asked"]);
    }
}
