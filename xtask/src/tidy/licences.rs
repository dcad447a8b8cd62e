//! Licences and banned crates, checked against `deny.toml` without cargo-deny, which is not on every machine.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::process::Command;

/// Reports every crate of the build that has no allowed licence or is banned.
pub fn check(problems: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string("deny.toml").context("cannot read deny.toml")?;
    let (allowed, banned) = (strings(&text, "allow = ["), strings(&text, "deny = ["));
    ensure!(!allowed.is_empty(), "deny.toml allows no licence at all");
    for line in built()? {
        // `name v1.2.3 (where from)`, a tab, the licence.
        let (package, license) =
            line.split_once('\t').context("cargo tree has another form than expected")?;
        let name = package.split(' ').next().unwrap_or_default();
        if banned.iter().any(|banned| banned == name) {
            problems.push(format!("{package} is banned by deny.toml"));
        }
        if !is_allowed(license, &allowed) {
            problems.push(format!("{package}: deny.toml does not allow its licence `{license}`"));
        }
    }
    Ok(())
}

/// Every crate of the build on any platform; the lock file names more, which no build uses.
fn built() -> Result<BTreeSet<String>> {
    let mut tree = Command::new(super::cargo());
    tree.args(["tree", "--locked", "--workspace", "--target", "all", "--prefix", "none"]);
    let output = tree.args(["--format", "{p}\t{l}"]).output().context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("a crate's name is not UTF-8")?;
    // A crate that was listed before is marked with a star.
    Ok(text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect())
}

/// The quoted strings of one list in a file of TOML.
fn strings(text: &str, start: &str) -> Vec<String> {
    let list = text.split_once(start).and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    let lines = list.lines().filter_map(|line| line.split('"').nth(1));
    lines.map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with allowed licences only.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    // Older manifests write `A/B` where they mean `A OR B`.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed, is_broken: false };
    let met = parser.any();
    met && !parser.is_broken && parser.words.is_empty()
}

/// Reads an expression from left to right; `AND` binds closer than `OR`.
struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
    is_broken: bool,
}

impl Parser<'_> {
    fn any(&mut self) -> bool {
        let mut met = self.all();
        while self.take("OR") {
            met |= self.all();
        }
        met
    }

    fn all(&mut self) -> bool {
        let mut met = self.one();
        while self.take("AND") {
            met &= self.one();
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let met = self.any();
            self.is_broken |= !self.take(")");
            return met;
        }
        let Some((name, rest)) = self.words.split_first() else {
            self.is_broken = true;
            return false;
        };
        self.words = rest;
        let mut name = (*name).to_owned();
        if self.take("WITH")
            && let Some((exception, rest)) = self.words.split_first()
        {
            self.words = rest;
            name = format!("{name} WITH {exception}");
        }
        self.allowed.contains(&name)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        if is_next {
            self.words = &self.words[1..];
        }
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_as_spdx_says() {
        let allowed = ["MIT", "ISC", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        let check = |text: &str, expect: bool| assert_eq!(is_allowed(text, &allowed), expect, "{text}");
        check("MIT", true);
        check("GPL-3.0", false);
        check("GPL-3.0 OR MIT", true);
        check("GPL-3.0 AND MIT", false);
        check("MIT/Apache-2.0", true);
        check("MIT OR GPL-3.0 AND BSD-4-Clause", true);
        check("(MIT OR GPL-3.0) AND ISC", true);
        check("(MIT OR ISC) AND GPL-3.0", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("GPL-2.0 WITH LLVM-exception", false);
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND"] {
            check(broken, false);
        }
    }

    #[test]
    fn lists_are_read_from_toml() {
        let text = "[licenses]\nallow = [\n    \"MIT\",\n    # why\n    \"ISC\",\n]\n[bans]\ndeny = [\n    { crate = \"openssl\", reason = \"one\" },\n]\n";
        assert_eq!(strings(text, "allow = ["), ["MIT", "ISC"]);
        assert_eq!(strings(text, "deny = ["), ["openssl"]);
        assert!(strings(text, "skip = [").is_empty());
    }
}
