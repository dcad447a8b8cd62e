//! YAML, as far as documents need it that others read: objects and arrays over lines, every text in quotes.

use std::fmt::Write;

use serde_json::Value;

/// A document. Whatever a text holds, it is read back as that text: all but plain ASCII is escaped.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    node(&mut text, value, 0);
    text
}

/// Writes a value, from the place where the line stands.
fn node(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (at, (name, value)) in fields.iter().enumerate() {
                pad(text, if at == 0 { 0 } else { indent });
                text.push_str(&key(name));
                text.push(':');
                child(text, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                pad(text, if at == 0 { 0 } else { indent });
                text.push_str("- ");
                node(text, item, indent + 2);
            }
        }
        // What has no lines of its own: JSON is YAML, too.
        Value::String(value) => line(text, &quoted(value)),
        other => line(text, &other.to_string()),
    }
}

/// Writes what stands after a key.
fn child(text: &mut String, value: &Value, indent: usize) {
    let has_lines = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if has_lines {
        text.push('\n');
        pad(text, indent);
    } else {
        text.push(' ');
    }
    node(text, value, indent);
}

fn line(text: &mut String, value: &str) {
    text.push_str(value);
    text.push('\n');
}

fn pad(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// A key, in quotes unless it is a plain word.
fn key(name: &str) -> String {
    let is_word = name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    // In YAML 1.1 these are no texts.
    let is_other =
        ["yes", "off", "true", "false", "null"].iter().any(|other| other.eq_ignore_ascii_case(name));
    if is_word && !is_other { name.to_owned() } else { quoted(name) }
}

fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            // Writing to a text does not fail.
            _ => write!(text, "\\U{:08x}", u32::from(character)).unwrap_or_default(),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn documents_have_lines() {
        let check = |value: Value, expect: &str| assert_eq!(document(&value), expect);
        check(
            json!({"abc": {"def": "x", "ghi": [{"jkl": 1, "mno": true}, "y"]}, "pqr": [], "stu": {}}),
            "abc:\n  def: \"x\"\n  ghi:\n    - jkl: 1\n      mno: true\n    - \"y\"\npqr: []\nstu: {}\n",
        );
        check(
            json!({".dotted": null, "no": "no", "true": ""}),
            "\".dotted\": null\n\"no\": \"no\"\n\"true\": \"\"\n",
        );
        check(json!([["aaa"], []]), "- - \"aaa\"\n- []\n");
    }

    #[test]
    fn texts_are_in_quotes() {
        let check = |value: &str, expect: &str| assert_eq!(quoted(value), expect);
        check("robot$team+ci", "\"robot$team+ci\"");
        check("a\"b\\c", r#""a\"b\\c""#);
        check("x: y # z\n- &a *b", r#""x: y # z\U0000000a- &a *b""#);
        check("é\u{2028}\u{7f}", r#""\U000000e9\U00002028\U0000007f""#);
    }

    proptest! {
        #[test]
        fn a_text_never_leaves_its_line(value in "\\PC*|[\\x00-\\xff\\n\"\\\\]*") {
            let text = document(&json!({"key": value}));
            let inner = text.strip_prefix("key: \"").and_then(|rest| rest.strip_suffix("\"\n")).unwrap();
            prop_assert!(inner.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            // No quote ends the text early.
            prop_assert!(!inner.replace("\\\\", "").replace("\\\"", "").contains('"'));
        }
    }
}
