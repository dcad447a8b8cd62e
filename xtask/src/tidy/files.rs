//! What a look at the files alone can tell: heads, lengths, words.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;

/// Words that put off what should be done or said in an issue. Joined here, so that this file passes too.
const FORBIDDEN: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("for ", "now")];

/// Parts of the standard library that only some crates may call, and why. Tests and examples are free.
const KEPT: &[(&str, &[&str], &str)] = &[
    (
        "std::fs",
        &["audit", "blob-fs", "blob", "meta-sql", "http-kit", "client", "layout", "ldap", "server", "cli"],
        "the core has no files of its own",
    ),
    ("SystemTime::now", &["meta", "blob", "blob-fs"], "time comes from a clock that a test can set"),
    ("env::var", &["server", "cli", "client"], "the environment is read at the ends and handed on"),
    ("process::exit", &["server", "wharf"], "nothing may end the program over the heads of open transfers"),
];

/// Crates that only tests and chores are made of.
const FREE: &[&str] =
    &["crates/test-kit/", "crates/chaos-kit/", "crates/power-cut/", "xtask/", "crates/wharf/src/main.rs"];

/// Reports every file that breaks a rule.
pub fn check(problems: &mut Vec<String>) -> Result<()> {
    for path in tracked()? {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        // Pictures and archives have no words.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        check_words(&path, &text, problems);
        if path.ends_with(".rs") {
            check_source(&path, &text, problems);
        }
    }
    Ok(())
}

/// The files that are or would be committed.
fn tracked() -> Result<Vec<String>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).output().context("cannot run git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn check_words(path: &str, text: &str, problems: &mut Vec<String>) {
    if matches!(path, "Cargo.lock" | "LICENSE") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        for word in FORBIDDEN.iter().filter(|word| has_word(line, word)) {
            problems.push(format!("{path}:{}: `{word}`: do it, or file an issue", number + 1));
        }
    }
}

/// Whether the word stands in the line by itself, not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !letter(line[..at].chars().next_back()) && !letter(line[at + word.len()..].chars().next())
    })
}

fn check_source(path: &str, text: &str, problems: &mut Vec<String>) {
    if !text.starts_with("//!") {
        problems.push(format!("{path}: no `//!` head that says what the file is and why"));
    }
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        problems.push(format!("{path}: {} lines, more than {FILE_LINES_MAX}", lines.len()));
    }
    for (number, length) in long_functions(&lines) {
        let number = number + 1;
        problems
            .push(format!("{path}:{number}: a function of {length} lines, more than {FUNCTION_LINES_MAX}"));
    }
    check_kept(path, &lines, problems);
}

/// The functions that are too long: the line each starts at, and its length. Formatted code ends a function
/// with a brace that is indented as its `fn` is.
fn long_functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let starts = lines.iter().enumerate().filter(|(_, line)| is_function(line));
    let lengths = starts.map(|(start, line)| (start, function_length(&lines[start..], indentation(line))));
    lengths.filter(|(_, length)| *length > FUNCTION_LINES_MAX).collect()
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace().take_while(|word| *word != "fn");
    let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    line.contains("fn ") && words.into_iter().all(|word| modifiers.contains(&word))
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn function_length(lines: &[&str], indent: usize) -> usize {
    let mut in_body = false;
    for (number, line) in lines.iter().enumerate() {
        let ends_here = if in_body {
            indentation(line) == indent && line.trim_start().starts_with('}')
        } else {
            // A declaration without a body, or a body on one line.
            line.ends_with(';') || line.ends_with('}')
        };
        if ends_here {
            return number + 1;
        }
        in_body |= line.ends_with('{');
    }
    lines.len()
}

fn check_kept(path: &str, lines: &[&str], problems: &mut Vec<String>) {
    let crate_name = path.strip_prefix("crates/").and_then(|rest| rest.split_once('/'));
    let Some((crate_name, inside)) = crate_name else { return };
    if !Path::new(inside).starts_with("src") || FREE.iter().any(|free| path.starts_with(free)) {
        return;
    }
    // A module of tests stands at the end of its file.
    let program = lines.iter().take_while(|line| line.trim() != "#[cfg(test)]");
    for (number, line) in program.enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        for (word, by, reason) in KEPT {
            if line.contains(word) && !by.contains(&crate_name) {
                problems.push(format!("{path}:{}: `{word}` in {crate_name}: {reason}", number + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        let check = |line: &str, word: &str, expect| assert_eq!(has_word(line, word), expect, "{line}");
        check("a later date", "late", false);
        check("it is late.", "late", true);
        check("late", "late", true);
        check("plate, too_late", "late", false);
    }

    #[test]
    fn a_function_is_as_long_as_its_lines() {
        let check = |text: &str, expect: usize| {
            let lines: Vec<&str> = text.lines().collect();
            let start = lines.iter().position(|line| is_function(line)).expect("there is a function");
            let length = function_length(&lines[start..], indentation(lines[start]));
            assert_eq!(length, expect, "{text}");
        };
        check("fn a() {}", 1);
        check("pub(crate) async fn a(\n    b: u8,\n) {\n    c();\n}\nfn d() {}", 5);
        check("    fn a(\n        b: u8,\n    ) -> u8;\n    fn c() {\n    }", 3);
        check("    const fn a() {\n        if b {\n        }\n    }", 4);
    }

    #[test]
    fn only_definitions_are_functions() {
        for line in ["// fn a()", "let f = fn (u8)", "a(|fn x|)", "type F = fn ()"] {
            assert!(!is_function(line), "{line}");
        }
    }

    #[test]
    fn kept_words_are_found_outside_tests() {
        let check = |path: &str, text: &str, expect: usize| {
            let mut problems = Vec::new();
            check_kept(path, &text.lines().collect::<Vec<_>>(), &mut problems);
            assert_eq!(problems.len(), expect, "{problems:?}");
        };
        check("crates/registry/src/a.rs", "use std::fs;", 1);
        check("crates/registry/src/a.rs", "// unlike std::fs", 0);
        check("crates/registry/src/a.rs", "#[cfg(test)]\nuse std::fs;", 0);
        check("crates/registry/tests/a.rs", "use std::fs;", 0);
        check("crates/blob-fs/src/a.rs", "use std::fs;", 0);
    }
}
