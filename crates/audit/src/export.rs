//! Records for other programs: JSON Lines and syslog.

use crate::line::{self, misleads};
use crate::record::{Outcome, Record};
use crate::time::{self, Stamp};

/// The facility "log audit".
const FACILITY: u8 = 13;
const HOSTNAME_BYTES: usize = 255;
const MESSAGE_ID_BYTES: usize = 32;

/// The record as the journal stores it, without the end of the line.
pub fn json_line(record: &Record) -> String {
    let mut line = Vec::new();
    line::write_place(record.seq, record.time, &mut Stamp::default(), &mut line);
    line::write_content(&record.content(), &mut line);
    line.pop();
    String::from_utf8(line).unwrap_or_default()
}

/// The record as a message of RFC 5424, on one line without its end. The structured data holds all that the record
/// tells; what a terminal or a parser of lines would take for a command is written as `#` and three octal digits there.
pub fn syslog(record: &Record, hostname: &str) -> String {
    let severity = match record.outcome {
        Outcome::Success => 6,
        Outcome::Denied => 4,
        Outcome::Failed => 3,
    };
    let priority = FACILITY * 8 + severity;
    let (time, hostname) = (time::text(record.time), header(hostname, HOSTNAME_BYTES));
    let id = header(&record.action, MESSAGE_ID_BYTES);
    let mut text =
        format!("<{priority}>1 {time} {hostname} wharf - {id} [wharf@32473 seq=\"{}\"", record.seq);
    for (name, value) in record.content().texts().into_iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!(" {name}=\""));
        push_value(value, &mut text);
        text.push('"');
    }
    text.push_str(&format!(" outcome=\"{}\"", record.outcome.name()));
    if record.status != 0 {
        text.push_str(&format!(" status=\"{}\"", record.status));
    }
    text.push_str("] ");
    text.push_str(&message(record));
    text
}

/// A field of the header: printable ASCII without spaces, or `-` where nothing is left.
fn header(text: &str, bytes: usize) -> String {
    let field: String = text.chars().filter(char::is_ascii_graphic).take(bytes).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

fn push_value(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '"' | '\\' | ']' => text.extend(['\\', c]),
            c if misleads(c) => {
                let mut bytes = [0; 4];
                let bytes = c.encode_utf8(&mut bytes).bytes();
                text.extend(bytes.map(|byte| format!("#{byte:03o}")));
            }
            c => text.push(c),
        }
    }
}

/// For people. In ASCII, so that it needs no mark of its encoding, which many programs show as rubbish.
fn message(record: &Record) -> String {
    let Record { actor, action, repository, reference, .. } = record;
    let words = [actor.as_str(), action, repository, reference, record.outcome.name()];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    words.join(" ").chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_becomes_a_message() {
        let record = Record {
            seq: 7,
            time: 1_793_614_272_000_042,
            actor: "bjørn".into(),
            action: "tag.delete".into(),
            repository: "lib/app".into(),
            reference: "v1".into(),
            outcome: Outcome::Denied,
            status: 403,
            detail: "a\"b\\c]d\ne\u{2028}".into(),
            ..Record::default()
        };
        let expect = concat!(
            "<108>1 2026-11-02T10:11:12.000042Z reg.example wharf - tag.delete ",
            r#"[wharf@32473 seq="7" actor="bjørn" action="tag.delete" repository="lib/app" reference="v1" "#,
            r#"detail="a\"b\\c\]d#012e#342#200#250" outcome="denied" status="403"] "#,
            "bj?rn tag.delete lib/app v1 denied",
        );
        assert_eq!(syslog(&record, "reg.example\n"), expect);
        assert!(
            syslog(&Record::default(), "").starts_with("<110>1 1970-01-01T00:00:00.000000Z - wharf - - [")
        );
        assert!(syslog(&Record { outcome: Outcome::Failed, ..record }, "h").starts_with("<107>1 "));
    }

    /// The fields of the header, the parameters, the text.
    type Parts<'a> = (Vec<&'a str>, Vec<(String, String)>, &'a str);

    /// Reads a message as the grammar of RFC 5424 has it.
    fn parse(message: &str) -> Option<Parts<'_>> {
        let (priority, rest) = message.strip_prefix('<')?.split_once('>')?;
        if !(1..=3).contains(&priority.len()) || priority.parse::<u8>().ok()? > 191 {
            return None;
        }
        let mut parts = rest.splitn(7, ' ');
        let fields: Vec<&str> = parts.by_ref().take(6).collect();
        let rest = parts.next()?;
        let limits = [3, 32, 255, 48, 128, 32];
        let good = |(field, limit): (&&str, usize)| {
            (1..=limit).contains(&field.len()) && field.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if fields.len() != limits.len() || !fields.iter().zip(limits).all(good) || fields[0] != "1" {
            return None;
        }
        let mut rest = rest.strip_prefix("[wharf@32473")?;
        let mut parameters = Vec::new();
        while let Some(parameter) = rest.strip_prefix(' ') {
            let (name, value) = parameter.split_once("=\"")?;
            if !(1..=32).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return None;
            }
            let (mut read, mut characters) = (String::new(), value.chars());
            loop {
                match characters.next()? {
                    '\\' => read.push(characters.next().filter(|c| matches!(c, '"' | '\\' | ']'))?),
                    '"' => break,
                    ']' => return None,
                    c => read.push(c),
                }
            }
            parameters.push((name.to_owned(), read));
            rest = characters.as_str();
        }
        Some((fields, parameters, rest.strip_prefix("] ")?))
    }

    proptest! {
        #[test]
        fn any_record_keeps_to_the_grammar(actor: String, action in "\\PC{0,60}", detail: String, host: String) {
            let (detail, action) = (format!("{detail}]\" x=\"\\\n<110>1"), action);
            let record = Record { actor, action, detail, ..Record::default() };
            let message = syslog(&record, &host);
            prop_assert!(!message.contains(misleads));
            let (_, parameters, text) = parse(&message).unwrap();
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let texts = record.content().texts();
            let expect = texts.iter().filter(|(_, value)| !value.is_empty());
            let expect: Vec<&str> = expect.map(|(name, _)| *name).collect();
            let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(&names[1..names.len() - 1], expect);
            for (name, value) in parameters {
                let stored = texts.iter().find(|(text, _)| *text == name);
                if let Some((_, stored)) = stored.filter(|(_, stored)| !stored.contains(misleads)) {
                    prop_assert_eq!(&value, stored);
                }
            }
        }
    }
}
