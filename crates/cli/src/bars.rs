//! Progress on standard error: bars on a terminal, plain lines without one, or nothing.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use oci::{Descriptor, Digest};
use transfer::{Event, Outcome, Progress, Silent};

use crate::text::size;

/// The progress that suits the place where the command runs.
pub(crate) fn progress(quiet: bool) -> Arc<dyn Progress> {
    if quiet {
        Arc::new(Silent)
    } else if std::io::stderr().is_terminal() {
        Arc::new(Bars::default())
    } else {
        Arc::new(Lines)
    }
}

/// A digest short enough for a line, long enough to be found by.
fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

/// What became of something, in a word.
const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Copied => "copied",
        Outcome::Present => "present",
        Outcome::Mounted => "mounted",
        Outcome::Foreign => "foreign, left out",
        Outcome::Absent => "absent, left out",
    }
}

/// One line for each thing that is done.
struct Lines;

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started(_) | Event::Position(..) => {}
            Event::Retrying { descriptor, reason, pause } => {
                eprintln!("{}", retry_line(descriptor, reason, pause));
            }
            Event::Blob(descriptor, outcome) => {
                eprintln!("blob {} {}: {}", descriptor.digest, size(descriptor.size), word(outcome));
            }
            Event::Manifest(descriptor, outcome) => {
                eprintln!("manifest {}: {}", descriptor.digest, word(outcome));
            }
        }
    }
}

fn retry_line(descriptor: &Descriptor, reason: &str, pause: Duration) -> String {
    let reason = crate::text::clean(reason);
    format!("{}: {reason}; again in {:.1} s", short(&descriptor.digest), pause.as_secs_f64())
}

/// A bar for each blob that moves.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    moving: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn moving(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, descriptor: &Descriptor) {
        let style = "{prefix} {bar:30} {bytes:>10} of {total_bytes:<10} {bytes_per_sec}";
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(descriptor.size).with_style(style).with_prefix(short(&descriptor.digest));
        self.moving().insert(descriptor.digest, self.all.add(bar));
    }

    fn say(&self, line: &str) {
        // A terminal that is gone gets no lines; the copy goes on.
        self.all.println(line).ok();
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started(descriptor) => self.start(descriptor),
            Event::Position(descriptor, position) => {
                if let Some(bar) = self.moving().get(&descriptor.digest) {
                    bar.set_position(position);
                }
            }
            Event::Retrying { descriptor, reason, pause } => {
                self.say(&retry_line(descriptor, reason, pause));
            }
            Event::Blob(descriptor, outcome) => {
                if let Some(bar) = self.moving().remove(&descriptor.digest) {
                    bar.finish_and_clear();
                }
                let (digest, size) = (short(&descriptor.digest), size(descriptor.size));
                self.say(&format!("{digest} {size:>10} {}", word(outcome)));
            }
            Event::Manifest(descriptor, outcome) => {
                self.say(&format!("{}   manifest {}", short(&descriptor.digest), word(outcome)));
            }
        }
    }
}
