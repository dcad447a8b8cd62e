//! Answers for people, as tables, and for programs, as JSON. A command prints one or the other.

use std::fmt::Display;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::out::Out;
use crate::text::clean;

/// A column of a table: its title, and what it shows of a thing.
pub(crate) struct Column(pub(crate) &'static str, pub(crate) fn(&Value) -> String);

/// Prints things, a line each.
pub(crate) fn list(out: &mut Out, json: bool, items: Vec<Value>, columns: &[Column]) -> Result<()> {
    if json {
        return out.line(Value::Array(items));
    }
    for line in table(&items, columns) {
        out.line(line)?;
    }
    Ok(())
}

/// Prints one thing, a line for each column.
pub(crate) fn show(out: &mut Out, json: bool, item: &Value, columns: &[Column]) -> Result<()> {
    if json {
        return out.line(item);
    }
    let width = columns.iter().map(|Column(title, _)| title.len()).max().unwrap_or_default();
    for Column(title, cell) in columns {
        out.line(format_args!("{title:width$}  {}", cell(item)))?;
    }
    Ok(())
}

/// Says that something is done: in a sentence, or with what the registry answered.
pub(crate) fn done(out: &mut Out, json: bool, answer: &Value, sentence: impl Display) -> Result<()> {
    match (json, answer) {
        (true, Value::Null) => out.line(json!({})),
        (true, answer) => out.line(answer),
        (false, _) => out.line(clean(&sentence.to_string())),
    }
}

/// Prints a secret alone, so that it can be piped on; what it is goes to standard error.
pub(crate) fn secret(
    out: &mut Out,
    json: bool,
    answer: &Value,
    field: &str,
    sentence: impl Display,
) -> Result<()> {
    if json {
        return out.line(answer);
    }
    let secret = answer[field].as_str().context("the answer has no secret")?;
    eprintln!("{}. This is shown this once:", clean(&sentence.to_string()));
    out.line(clean(secret))
}

/// The lines of a table, its titles first.
fn table(items: &[Value], columns: &[Column]) -> Vec<String> {
    let titles = columns.iter().map(|Column(title, _)| title.to_uppercase()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|Column(_, cell)| cell(item)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
    let length = |text: &String| text.chars().count();
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| rows.iter().map(|row| length(&row[at])).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A value as a word; a dash for what is not there.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => clean(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => clean(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] =
        &[Column("name", |item| cell(&item["name"])), Column("what it is", |item| cell(&item["what"]))];

    #[test]
    fn tables_are_aligned() {
        let check = |items: &[Value], expect: &[&str]| assert_eq!(table(items, COLUMNS), expect);
        check(&[], &["NAME  WHAT IT IS"]);
        check(
            &[json!({"name": "ann", "what": true}), json!({"name": "größte", "what": ["a", "b"]}), json!({})],
            &["NAME    WHAT IT IS", "ann     yes", "größte  a,b", "-       -"],
        );
    }

    #[test]
    fn no_value_plays_tricks() {
        let check = |value: Value, expect: &str| assert_eq!(cell(&value), expect);
        check(json!("a\u{1b}[2Jb\n"), "a [2Jb ");
        check(json!(["a\r", ""]), "a ,-");
        check(json!({"k": "\u{9b}2J"}), "{\"k\":\" 2J\"}");
        check(json!([]), "-");
        check(json!(3), "3");
    }
}
