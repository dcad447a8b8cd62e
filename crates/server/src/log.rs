//! The log: what is logged, in which form, and that an event is one line, whatever clients put into it.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Logging, to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` (a line for each request) or `trace`; or a filter such as `info,http_oci=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// Logs to standard error from here on.
pub(crate) fn start(config: &LogConfig) -> Result<()> {
    let filter = EnvFilter::try_new(&config.level)
        .with_context(|| format!("`{}` is not a log level", config.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines).with_target(false);
    match config.format {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Makes a [`Line`] for each event.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(io::stderr())
    }
}

/// Writes an event, which comes as a whole, as one line. The messages of errors quote what clients sent, and a line break
/// in there would begin a line that looks like one of ours. Escape codes do not come this far.
struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(one_line(event).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The text with its line breaks written out, but for the last one.
fn one_line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
    let is_break =
        |c: char| matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if is_break(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let check = |event: &str, expect: &str| {
            let mut line = Line(Vec::new());
            line.write_all(event.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(line.0).unwrap(), expect);
        };
        check("INFO all is well\n", "INFO all is well\n");
        check("INFO no `\nINFO x`\n", "INFO no `\\nINFO x`\n");
        check("a\r\nb\n\n", "a\\r\\nb\\n\n");
        check("a\u{2028}b\u{85}c", "a\\u{2028}b\\u{85}c");
        check("\u{1b}[32mINFO\u{1b}[0m für\n", "\u{1b}[32mINFO\u{1b}[0m für\n");
        check("", "");
    }
}
