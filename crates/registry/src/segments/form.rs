//! The form of a segment: JSON lines, compressed with gzip, whose checksum tells a damaged one.
//!
//! ```text
//! {"format":"wharf-segment","version":2,"previous":6,"first_position":501,"last_position":503,"events":2}
//! {"position":501,"kind":"manifest.pushed","repository":"team/app","digest":"sha256:...", ...,
//!   "manifest":{"media_type":"...","bytes":"<base64>","blobs":[{"digest":"...","id":"...","size":5}]}}
//! {"position":503,"kind":"tag.set","repository":"team/app","digest":"sha256:...","tag":"v1", ...}
//! ```
//!
//! Positions that are left out are those of events that tell of no repository. In version 1 none were, and the head did
//! not say how many events there are.
//!
//! A field that is added later is ignored by those who do not know it; a form that they would misread gets the
//! next version.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::IpAddr;

use blob::BlobId;
use bytes::{Buf, Bytes, buf::Reader as BytesReader};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use meta::{Event, EventKind};
use oci::{Digest, MediaType, RepoName, Tag};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest segment that is read, compressed or not: beyond what the largest manifests make of one.
pub(super) const SEGMENT_MAX: u64 = 256 << 20;

const FORMAT: &str = "wharf-segment";
const VERSION: u32 = 2;

/// Why an object is not a segment.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    #[error("it cannot be unpacked: {0}")]
    Packing(#[from] io::Error),
    #[error("it is larger than {SEGMENT_MAX} bytes")]
    TooLarge,
    #[error("a line is not what it should be: {0}")]
    Line(#[from] serde_json::Error),
    #[error("it has no head, or that of another format")]
    NoSegment,
    #[error("it has version {0}, this program knows up to {VERSION}: use a newer wharf")]
    TooNew(u32),
    #[error("it has {actual} events instead of {expected}")]
    Count { expected: i64, actual: i64 },
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    /// The segment that this one goes on from; others with lower numbers tell of what this history left behind.
    pub(super) previous: Option<u64>,
    pub(super) first_position: i64,
    pub(super) last_position: i64,
    /// How many lines follow.
    events: Option<i64>,
}

/// One event.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) position: i64,
    pub(super) version: u16,
    #[serde(with = "kind")]
    pub(super) kind: EventKind,
    pub(super) repository: RepoName,
    pub(super) digest: Option<Digest>,
    pub(super) tag: Option<Tag>,
    pub(super) before: Option<Digest>,
    pub(super) actor: String,
    pub(super) address: Option<IpAddr>,
    pub(super) agent: Option<String>,
    pub(super) request: Option<String>,
    pub(super) time: i64,
    /// Of a manifest that was still there when the segment was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) manifest: Option<ManifestCopy>,
    /// Of a blob that was healed, if it still was when the segment was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) blob: Option<BlobCopy>,
}

/// A manifest with the objects of its blobs.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestCopy {
    pub(super) media_type: MediaType,
    #[serde(with = "base64_bytes")]
    pub(super) bytes: Bytes,
    pub(super) blobs: Vec<BlobCopy>,
    /// Its repository is mirrored: the manifest may lack blobs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) mirrored: bool,
}

/// Which object a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobCopy {
    pub(super) digest: Digest,
    #[serde(with = "text")]
    pub(super) id: BlobId,
    pub(super) size: u64,
}

impl Line {
    /// `None` where the event tells of an entry and no repository: see [`super`].
    pub(super) fn new(event: Event, manifest: Option<ManifestCopy>, blob: Option<BlobCopy>) -> Option<Self> {
        Some(Self {
            position: event.position,
            version: event.version,
            kind: event.kind,
            repository: event.repository?,
            digest: event.digest,
            tag: event.tag,
            before: event.before,
            actor: event.origin.actor,
            address: event.origin.address,
            agent: event.origin.agent,
            request: event.origin.request,
            time: event.time.micros(),
            manifest,
            blob,
        })
    }
}

/// A segment in the making, uncompressed.
pub(super) struct Draft {
    lines: Vec<u8>,
    events: i64,
    positions: Option<(i64, i64)>,
}

impl Draft {
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new(), events: 0, positions: None }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it has no events.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn push(&mut self, line: &Line) -> Result<(), FormError> {
        serde_json::to_writer(&mut self.lines, line)?;
        self.lines.push(b'\n');
        self.events += 1;
        let first = self.positions.map_or(line.position, |(first, _)| first);
        self.positions = Some((first, line.position));
        Ok(())
    }

    /// The object, in which it goes on from the segment `previous`.
    pub(super) fn pack(self, previous: Option<u64>) -> Result<Bytes, FormError> {
        let (first_position, last_position) = self.positions.unwrap_or_default();
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            previous,
            first_position,
            last_position,
            events: Some(self.events),
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        serde_json::to_writer(&mut encoder, &header)?;
        encoder.write_all(b"\n")?;
        encoder.write_all(&self.lines)?;
        Ok(encoder.finish()?.into())
    }
}

/// Reads the lines of a segment, holding one at a time.
pub(super) struct Reader {
    text: io::Take<BufReader<GzDecoder<BytesReader<Bytes>>>>,
    line: Vec<u8>,
}

impl Reader {
    pub(super) fn new(object: Bytes) -> Self {
        Self::limited(object, SEGMENT_MAX)
    }

    fn limited(object: Bytes, most: u64) -> Self {
        // One byte more than allowed tells that there is more.
        let text = BufReader::new(GzDecoder::new(object.reader())).take(most + 1);
        Self { text, line: Vec::new() }
    }

    /// The head, which comes first.
    pub(super) fn header(&mut self) -> Result<Header, FormError> {
        let value: serde_json::Value = self.next()?.ok_or(FormError::NoSegment)?;
        if value.get("format").is_none_or(|format| format != FORMAT) {
            return Err(FormError::NoSegment);
        }
        // The version before the rest: another version may have another head.
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if (1..=u64::from(VERSION)).contains(&version) => {
                Ok(serde_json::from_value(value)?)
            }
            Some(version) => Err(FormError::TooNew(u32::try_from(version).unwrap_or(u32::MAX))),
            None => Err(FormError::NoSegment),
        }
    }

    /// The next line; `None` after the last. After [`FormError::Line`] it can be gone on with.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FormError> {
        if !self.advance()? {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&self.line)?))
    }

    fn advance(&mut self) -> Result<bool, FormError> {
        self.line.clear();
        let read = self.text.read_until(b'\n', &mut self.line)?;
        if self.text.limit() == 0 {
            return Err(FormError::TooLarge);
        }
        Ok(read > 0)
    }
}

/// Reads a segment to its end before anything in it is believed. Gives its head.
pub(super) fn verify(object: Bytes) -> Result<Header, FormError> {
    let mut reader = Reader::new(object);
    let header = reader.header()?;
    let positions = header.last_position.saturating_sub(header.first_position).saturating_add(1);
    let expected = header.events.unwrap_or(positions);
    let mut actual = 0;
    while reader.advance()? {
        actual += 1;
    }
    if actual == expected { Ok(header) } else { Err(FormError::Count { expected, actual }) }
}

/// Values as they are written in texts.
mod text {
    use std::borrow::Cow;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Cow::<str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The kinds of events by their stored names.
mod kind {
    use std::borrow::Cow;

    use meta::EventKind;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(kind: &EventKind, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EventKind, D::Error> {
        let name = Cow::<str>::deserialize(from)?;
        EventKind::from_name(&name).ok_or_else(|| D::Error::custom("the kind of event is not known"))
    }
}

/// Bytes that are not text, in text.
mod base64_bytes {
    use std::borrow::Cow;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&base64::display::Base64Display::new(bytes, &STANDARD))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        STANDARD.decode(&*text).map(Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::{Origin, Timestamp};
    use proptest::prelude::*;

    fn event(position: i64, kind: EventKind) -> Event {
        let digest = Digest::sha256(&position.to_be_bytes());
        Event {
            position,
            version: 1,
            kind,
            repository: Some("team/app".parse().unwrap()),
            digest: Some(digest),
            tag: Some("v1".parse().unwrap()),
            before: None,
            entry: None,
            origin: Origin {
                actor: "ann".into(),
                address: Some("::1".parse().unwrap()),
                agent: Some("a \"client\"\n".into()),
                request: None,
            },
            time: Timestamp::from_micros(position),
        }
    }

    fn line(position: i64, bytes: &[u8]) -> Line {
        let blob = BlobCopy { digest: Digest::sha256(bytes), id: BlobId::random(), size: u64::MAX };
        let manifest = ManifestCopy {
            media_type: "a/b".parse().unwrap(),
            bytes: Bytes::copy_from_slice(bytes),
            blobs: vec![blob],
            mirrored: position % 2 == 0,
        };
        Line::new(event(position, EventKind::ManifestPushed), Some(manifest), Some(blob)).unwrap()
    }

    fn packed(lines: &[Line]) -> Bytes {
        let mut draft = Draft::new();
        lines.iter().for_each(|line| draft.push(line).unwrap());
        draft.pack(Some(6)).unwrap()
    }

    /// A segment of any lines.
    fn raw(lines: &[&str]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        lines.iter().for_each(|line| writeln!(encoder, "{line}").unwrap());
        encoder.finish().unwrap().into()
    }

    #[test]
    fn events_of_all_kinds_come_back() {
        let mut lines: Vec<Line> = (7..)
            .zip(EventKind::NAMES)
            .filter_map(|(position, (kind, _))| Line::new(event(position, kind), None, None))
            .collect();
        let next = 7 + i64::try_from(lines.len()).unwrap();
        lines.push(line(next, b"{}"));
        let object = packed(&lines);
        let header = verify(object.clone()).unwrap();
        assert_eq!((header.previous, header.first_position, header.last_position), (Some(6), 7, next));
        let mut reader = Reader::new(object);
        assert_eq!(reader.header().unwrap(), header);
        for line in lines {
            assert_eq!(reader.next::<Line>().unwrap(), Some(line));
        }
        assert_eq!(reader.next::<Line>().unwrap(), None);
    }

    #[test]
    fn the_head_is_read_from_the_beginning_of_an_object() {
        let noise: Vec<u8> =
            (0_u32..500).flat_map(|n| Digest::sha256(&n.to_be_bytes()).hex().into_bytes()).collect();
        let object = packed(&[line(1, &noise)]);
        assert!(object.len() > 10_000, "{}", object.len());
        assert_eq!(Reader::new(object.slice(..4096)).header().unwrap().first_position, 1);
        verify(object.slice(..object.len() - 1)).unwrap_err();
    }

    #[test]
    fn what_is_no_segment_is_refused() {
        let check = |object: Bytes, expect: fn(&FormError) -> bool| {
            let error = verify(object).unwrap_err();
            assert!(expect(&error), "{error:?}");
        };
        let head =
            r#"{"format":"wharf-segment","version":1,"previous":null,"first_position":1,"last_position":2}"#;
        check(Bytes::new(), |error| matches!(error, FormError::Packing(_) | FormError::NoSegment));
        check(Bytes::from_static(b"{}"), |error| matches!(error, FormError::Packing(_)));
        check(raw(&[]), |error| matches!(error, FormError::NoSegment));
        check(raw(&["{}"]), |error| matches!(error, FormError::NoSegment));
        check(raw(&["nothing"]), |error| matches!(error, FormError::Line(_)));
        check(raw(&[&head.replace("1,\"prev", "3,\"prev")]), |error| matches!(error, FormError::TooNew(3)));
        check(raw(&[&head.replace("null", "-1")]), |error| matches!(error, FormError::Line(_)));
        check(raw(&[head, "{}"]), |error| matches!(error, FormError::Count { expected: 2, actual: 1 }));
        check(raw(&[head, "", "", ""]), |error| matches!(error, FormError::Count { .. }));
        assert!(verify(raw(&[head, "1", "2"])).is_ok(), "lines are read one by one, later");
        let head = head.replace("1,\"prev", "2,\"prev").replace('}', ",\"events\":1}");
        check(raw(&[&head, "1", "2"]), |error| matches!(error, FormError::Count { expected: 1, actual: 2 }));
        assert!(verify(raw(&[&head, "2"])).is_ok(), "the first tells of no repository");
    }

    #[test]
    fn a_packed_mountain_is_not_unpacked() {
        let object = raw(&["{}", &" ".repeat(1 << 20)]);
        assert!(object.len() < 10_000, "{}", object.len());
        let check = |most: u64, fits: bool| {
            let mut reader = Reader::limited(object.clone(), most);
            assert!(reader.advance().unwrap(), "the first line is short");
            let outcome = reader.advance();
            assert_eq!(outcome.is_ok(), fits, "{outcome:?}");
            assert!(reader.line.len() as u64 <= most + 1);
        };
        let all = (1 << 20) + 4;
        check(100_000, false);
        check(all - 1, false);
        check(all, true);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(verify(bytes.clone().into()).is_err());
            let _outcome = verify(raw(&[&String::from_utf8_lossy(&bytes)]));
        }

        #[test]
        fn no_flipped_bit_changes_what_is_read(at: prop::sample::Index, bit in 0_u8..8) {
            let lines = [line(1, b"some bytes"), line(2, b"others")];
            let mut object = packed(&lines).to_vec();
            let at = at.index(object.len());
            object[at] ^= 1 << bit;
            let object = Bytes::from(object);
            // The head of gzip and the padding of its last byte have bits that mean nothing.
            if verify(object.clone()).is_ok() {
                let mut reader = Reader::new(object);
                prop_assert_eq!(reader.header().unwrap().last_position, 2);
                for line in lines {
                    prop_assert_eq!(reader.next::<Line>().unwrap(), Some(line));
                }
                prop_assert!(reader.next::<Line>().unwrap().is_none());
            }
        }

        #[test]
        fn manifests_come_back_byte_for_byte(bytes: Vec<u8>) {
            let lines = [line(1, &bytes)];
            let mut reader = Reader::new(packed(&lines));
            reader.header().unwrap();
            prop_assert_eq!(reader.next::<Line>().unwrap(), lines.into_iter().next());
        }
    }
}
