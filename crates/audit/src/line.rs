//! The lines of a file: a header, records, seals.
//!
//! ```text
//! {"v":1,"file":1001,"seal":17,"previous":"<hash>","before":{"from":"<time>","until":"<time>"}}
//! {"v":1,"seq":1001,"time":"<time>","actor":"alice","via":"password","action":"pull", ... }
//! {"v":1,"seal":18,"through":1001,"hash":"<hash>"}
//! ```
//!
//! The header tells what the file goes on from: the number and hash of the last seal before it, and from when until
//! when the records of the file before it are, so that a search can pass that file over. Records are written by hand,
//! for it happens within each pull.

use serde::Deserialize;

use crate::chain::{self, Hash};
use crate::record::{FIELD_BYTES, NewRecord, Record, TEXTS};
use crate::time::{self, Stamp};

/// No line that the journal writes is longer: each byte of a text takes six at most.
pub(crate) const LINE_BYTES: usize = 64 << 10;
const _: () = assert!(TEXTS * (FIELD_BYTES * 6 + 32) < LINE_BYTES - 256);

/// No header is longer.
pub(crate) const HEADER_BYTES: u64 = 256;

/// How each record begins.
const RECORD: &[u8] = br#"{"v":1,"seq":"#;

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    #[serde(rename = "v")]
    _version: Version,
    /// The number of the file's first record, which is its name too.
    pub file: u64,
    /// The last seal before the file; 0 where there was none.
    pub seal: u64,
    /// The hash of that seal.
    #[serde(deserialize_with = "chain::deserialize")]
    pub previous: Hash,
    /// The times of the records of the file before it.
    #[serde(default)]
    pub before: Option<Times>,
}

/// From when until when records are. The clock may have been set back meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Times {
    #[serde(deserialize_with = "time::deserialize")]
    pub from: i64,
    #[serde(deserialize_with = "time::deserialize")]
    pub until: i64,
}

impl Times {
    /// These times and another one.
    pub fn with(times: Option<Self>, time: i64) -> Self {
        let Self { from, until } = times.unwrap_or(Self { from: time, until: time });
        Self { from: from.min(time), until: until.max(time) }
    }
}

/// A seal over all lines since the seal before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seal {
    #[serde(rename = "v")]
    _version: Version,
    /// Its place in the order of seals: 1, 2, 3, ... without gaps.
    pub seal: u64,
    /// The last record before it.
    pub through: u64,
    /// The hash.
    #[serde(deserialize_with = "chain::deserialize")]
    pub hash: Hash,
}

/// What must be known of a record to know its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Place {
    #[serde(rename = "v")]
    _version: Version,
    pub seq: u64,
    #[serde(deserialize_with = "time::deserialize")]
    pub time: i64,
}

/// Reads from 1, the one version that there is, and from nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct Version;

impl TryFrom<u16> for Version {
    type Error = &'static str;

    fn try_from(version: u16) -> Result<Self, &'static str> {
        if version == 1 { Ok(Self) } else { Err("an unknown version") }
    }
}

impl Header {
    pub fn new(file: u64, seal: u64, previous: Hash, before: Option<Times>) -> Self {
        Self { _version: Version, file, seal, previous, before }
    }

    /// The line, with its end.
    pub fn line(&self) -> String {
        let Self { file, seal, .. } = self;
        let times = self.before.map_or(String::new(), |Times { from, until }| {
            format!(r#","before":{{"from":"{}","until":"{}"}}"#, time::text(from), time::text(until))
        });
        let previous = hex::encode(self.previous);
        format!("{{\"v\":1,\"file\":{file},\"seal\":{seal},\"previous\":\"{previous}\"{times}}}\n")
    }
}

impl Seal {
    pub fn new(seal: u64, through: u64, hash: Hash) -> Self {
        Self { _version: Version, seal, through, hash }
    }

    /// The line, with its end.
    pub fn line(&self) -> String {
        let Self { seal, through, .. } = self;
        let hash = hex::encode(self.hash);
        format!("{{\"v\":1,\"seal\":{seal},\"through\":{through},\"hash\":\"{hash}\"}}\n")
    }
}

/// A line that the journal may have written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Header(Header),
    Record(Place),
    Seal(Seal),
}

impl Line {
    /// Reads a line without its end. `None` when the journal has never written such a line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        if line.starts_with(RECORD) {
            serde_json::from_slice(line).ok().map(Self::Record)
        } else if line.starts_with(br#"{"v":1,"seal":"#) {
            serde_json::from_slice(line).ok().map(Self::Seal)
        } else {
            serde_json::from_slice(line).ok().map(Self::Header)
        }
    }

    /// A number that never falls from line to line: of the record, or of the last record before the line.
    pub fn number(&self) -> u64 {
        match self {
            Self::Header(header) => header.file.saturating_sub(1),
            Self::Record(place) => place.seq,
            Self::Seal(seal) => seal.through,
        }
    }
}

/// What a search makes of a line.
pub(crate) enum Found {
    Record(Box<Record>),
    Other,
    Damaged,
}

/// Reads a line for a search.
pub(crate) fn read(line: &[u8]) -> Found {
    if line.starts_with(RECORD) {
        return serde_json::from_slice(line).map_or(Found::Damaged, |record| Found::Record(Box::new(record)));
    }
    Line::parse(line).map_or(Found::Damaged, |_| Found::Other)
}

/// Appends how the line of a record begins: what is known only once it has its place among the others.
pub(crate) fn write_place(seq: u64, time: i64, stamp: &mut Stamp, line: &mut Vec<u8>) {
    line.extend_from_slice(RECORD);
    write_number(seq, line);
    line.extend_from_slice(br#","time":""#);
    stamp.write(time, line);
    line.push(b'"');
}

/// Appends what follows that in the line of a record, with its end.
pub(crate) fn write_content(record: &NewRecord<'_>, line: &mut Vec<u8>) {
    for (name, text) in record.texts().into_iter().filter(|(_, text)| !text.is_empty()) {
        line.extend_from_slice(b",\"");
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\":\"");
        write_text(&text[..text.floor_char_boundary(FIELD_BYTES)], line);
        line.push(b'"');
    }
    line.extend_from_slice(br#","outcome":""#);
    line.extend_from_slice(record.outcome.name().as_bytes());
    line.push(b'"');
    if record.status != 0 {
        line.extend_from_slice(br#","status":"#);
        write_number(record.status.into(), line);
    }
    line.extend_from_slice(b"}\n");
}

fn write_number(mut number: u64, line: &mut Vec<u8>) {
    let start = line.len();
    loop {
        line.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line[start..].reverse();
}

fn write_text(text: &str, line: &mut Vec<u8>) {
    let is_plain = |byte: u8| matches!(byte, 0x20..0x7f) & (byte != b'"') & (byte != b'\\');
    // To the end in any case: without a way out in the middle many bytes are looked at at once.
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend_from_slice(&[b'\\', c as u8]),
            '\n' => line.extend_from_slice(b"\\n"),
            '\r' => line.extend_from_slice(b"\\r"),
            '\t' => line.extend_from_slice(b"\\t"),
            c if misleads(c) => line.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Whether a character may mislead who reads the file as text: it ends a line for some programs, commands a terminal,
/// or turns the direction of what follows. JSON would allow most of them.
pub(crate) fn misleads(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(seq: u64, time: i64, record: &NewRecord<'_>) -> String {
        let mut line = Vec::new();
        write_place(seq, time, &mut Stamp::default(), &mut line);
        write_content(record, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn absent_fields_are_not_written() {
        let record = NewRecord { action: "pull", ..NewRecord::default() };
        let expect = concat!(
            r#"{"v":1,"seq":10,"time":"1970-01-01T00:00:00.000007Z","action":"pull","outcome":"success"}"#,
            "\n"
        );
        assert_eq!(written(10, 7, &record), expect);
        let record =
            NewRecord { actor: "é\u{1F600}", status: 404, outcome: crate::Outcome::Failed, ..record };
        let expect = concat!(
            r#"{"v":1,"seq":0,"time":"1970-01-01T00:00:00.000000Z","actor":"é😀","action":"pull","#,
            r#""outcome":"failed","status":404}"#,
            "\n"
        );
        assert_eq!(written(0, 0, &record), expect);
    }

    #[test]
    fn nothing_from_outside_ends_a_line_or_a_text() {
        let check = |text: &str, expect: &str| {
            let line = written(1, 0, &NewRecord { agent: text, ..NewRecord::default() });
            assert!(line.contains(&format!(r#""agent":"{expect}""#)), "{line}");
        };
        check("a\nb\r\n\tc", r"a\nb\r\n\tc");
        check(r#"","seq":9,"x":""#, r#"\",\"seq\":9,\"x\":\""#);
        check(r"\", r"\\");
        check("\0\x1b[2J\x7f\u{85}\u{9b}", r"\u0000\u001b[2J\u007f\u0085\u009b");
        check("a\u{2028}b\u{2029}c\u{202e}d", r"a\u2028b\u2029c\u202ed");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let check = |text: String, expect: usize| {
            let line = written(1, 0, &NewRecord { detail: &text, ..NewRecord::default() });
            let record: Record = serde_json::from_str(&line).unwrap();
            assert_eq!(record.detail, text[..expect]);
        };
        check("a".repeat(512), 512);
        check("a".repeat(513), 512);
        check("é".repeat(300), 512);
        check(format!("a{}", "é".repeat(300)), 511);
        check(format!("ab{}", "\u{1F600}".repeat(300)), 510);
    }

    #[test]
    fn the_longest_line_is_shorter_than_the_limit() {
        let text = "\u{1}".repeat(1000);
        let text = text.as_str();
        let record = Record {
            actor: text.into(),
            via: text.into(),
            action: text.into(),
            project: text.into(),
            repository: text.into(),
            reference: text.into(),
            digest: text.into(),
            entry: text.into(),
            address: text.into(),
            agent: text.into(),
            request: text.into(),
            detail: text.into(),
            status: u16::MAX,
            ..Record::default()
        };
        assert!(written(u64::MAX, i64::MAX, &record.content()).len() < LINE_BYTES);
    }

    #[test]
    fn headers_and_seals_come_back() {
        for before in [None, Some(Times { from: 5, until: 1_793_614_272_000_042 })] {
            let header = Header::new(u64::MAX, u64::MAX, [0xab; 32], before);
            let line = header.line();
            assert!(line.len() as u64 <= HEADER_BYTES);
            assert_eq!(Line::parse(line.trim_end().as_bytes()), Some(Line::Header(header)));
        }
        let seal = Seal::new(18, 1001, [0xcd; 32]);
        assert_eq!(Line::parse(seal.line().trim_end().as_bytes()), Some(Line::Seal(seal)));
    }

    #[test]
    fn what_the_journal_has_not_written_is_no_line() {
        let check =
            |line: &str, expect: bool| assert_eq!(Line::parse(line.as_bytes()).is_some(), expect, "{line}");
        let (record, hash) = (r#"{"v":1,"seq":1,"time":"2026-11-02T10:11:12.000042Z""#, "ab".repeat(32));
        check(&format!("{record}}}"), true);
        check(&format!("{record},\"later\":[1]}}"), true);
        check(record, false);
        check(&format!("{record}}}}}"), false);
        check(&format!("{record},\"actor\":\"\0\"}}"), false);
        check(r#"{"v":1,"seq":-1,"time":"2026-11-02T10:11:12.000042Z"}"#, false);
        check(r#"{"v":1,"seq":1,"time":"yesterday"}"#, false);
        check(r#"{"v":2,"seq":1,"time":"2026-11-02T10:11:12.000042Z"}"#, false);
        check(&format!(r#"{{"v":1,"seal":1,"through":1,"hash":"{hash}"}}"#), true);
        check(&format!(r#"{{"v":1,"seal":1,"through":1,"hash":"{hash}","x":1}}"#), false);
        check(&format!(r#"{{"v":1,"seal":1,"through":1,"hash":"{}"}}"#, "ab"), false);
        check(&format!(r#"{{"v":2,"file":1,"seal":1,"previous":"{hash}"}}"#), false);
        check(&format!(r#"{{"v":1,"file":1,"seal":1,"previous":"{hash}"}}"#), true);
        check("", false);
        check("\0\0\0", false);
        check(&"[".repeat(50_000), false);
    }

    /// Any text, with those characters often that are special to some reader.
    fn any_text() -> impl Strategy<Value = String> {
        let special =
            prop::sample::select(vec!['"', '\\', '\n', '\r', '\0', '\u{7f}', '\u{85}', '\u{2028}', '}', ']']);
        let characters = prop_oneof![any::<char>(), special, any::<char>()];
        prop::collection::vec(characters, 0..200).prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn every_record_comes_back(
            (texts, seq, status) in (prop::collection::vec(any_text(), 4), any::<u64>(), any::<u16>()),
        ) {
            let record = NewRecord {
                actor: &texts[0], agent: &texts[1], detail: &texts[2], action: &texts[3], status, ..NewRecord::default()
            };
            let line = written(seq, 42, &record);
            let text = line.strip_suffix('\n').unwrap();
            prop_assert!(!text.contains(misleads));
            let read: Record = serde_json::from_str(text).unwrap();
            prop_assert_eq!((read.v, read.seq, read.time, read.status), (1, seq, 42, status));
            let content = read.content();
            for ((_, kept), (_, given)) in content.texts().into_iter().zip(record.texts()) {
                prop_assert_eq!(kept, &given[..given.floor_char_boundary(FIELD_BYTES)]);
            }
            // What is exported is what is stored.
            prop_assert_eq!(written(read.seq, read.time, &content), line.as_str());
            let place = matches!(Line::parse(text.as_bytes()), Some(Line::Record(place)) if place.seq == seq);
            prop_assert!(place);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            Line::parse(&bytes);
            read(&bytes);
        }
    }
}
