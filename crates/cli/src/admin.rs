//! `wharf gc`, `wharf check` and `wharf rebuild`: requests to a server on this machine, and its answers in words.

use anyhow::{Result, bail};
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use crate::Verdict;
use crate::args::{CheckFlags, GcFlags, ResetPasswordFlags, StoreFlags};
use crate::host::{Host, Lines, Request};
use crate::out::Out;
use crate::text::{clean, count, size, word};

pub(crate) async fn gc(flags: GcFlags, host: &dyn Host, out: &mut Out) -> Result<()> {
    let mut body = Map::new();
    body.insert("dry_run".into(), flags.dry_run.into());
    if let Some(grace) = flags.grace {
        body.insert("grace_seconds".into(), grace.as_secs().into());
    }
    let request = Request::post("/api/v1/gc", body.into());
    let lines = host.admin(flags.store.data, flags.store.config, request).await?;
    print(lines, flags.store.json, out, |line| gc_line(line, flags.dry_run)).await?;
    Ok(())
}

pub(crate) async fn check(flags: CheckFlags, host: &dyn Host, out: &mut Out) -> Result<Verdict> {
    let request = Request::post("/api/v1/check", json!({"read": flags.read}));
    let lines = host.admin(flags.store.data, flags.store.config, request).await?;
    print(lines, flags.store.json, out, check_line).await
}

pub(crate) async fn rebuild(flags: StoreFlags, host: &dyn Host, out: &mut Out) -> Result<Verdict> {
    let request = Request::post("/api/v1/rebuild", json!({}));
    let lines = host.admin(flags.data, flags.config, request).await?;
    print(lines, flags.json, out, |line| Some(rebuild_line(line))).await
}

/// Prints the new password alone, so that it can be piped on.
pub(crate) async fn reset_password(flags: ResetPasswordFlags, host: &dyn Host, out: &mut Out) -> Result<()> {
    let path = format!("/api/v1/users/{}/reset-password", encode(&flags.user));
    let request = Request::post(&path, Value::Null);
    let mut lines = host.admin(flags.store.data, flags.store.config, request).await?;
    let Some(line) = lines.next().await.transpose()? else { bail!("the answer is empty") };
    match (flags.store.json, line["password"].as_str()) {
        (true, _) => out.line(&line)?,
        (false, Some(password)) => out.line(password)?,
        (false, None) => bail!("the answer has no password"),
    }
    out.finish()
}

/// A name as a part of a path.
pub(crate) fn encode(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Prints the lines as they come, and says whether they tell of damage.
async fn print(
    mut lines: Lines,
    json: bool,
    out: &mut Out,
    render: impl Fn(&Value) -> Option<String>,
) -> Result<Verdict> {
    let mut verdict = Verdict::Good;
    let mut summary = false;
    while let Some(line) = lines.next().await {
        let line = line?;
        let kind = line["type"].as_str().unwrap_or_default();
        if kind == "error" {
            out.finish()?;
            bail!("{}", line["message"].as_str().map_or_else(|| generic(&line), clean));
        }
        summary |= kind == "summary";
        if is_damage(kind, &line) {
            verdict = Verdict::Bad;
        }
        if json {
            out.line(&line)?;
        } else if let Some(text) = render(&line) {
            out.line(text)?;
        }
    }
    out.finish()?;
    if !summary {
        bail!("the answer broke off before its summary: the server's log says why");
    }
    Ok(verdict)
}

/// A finding is damage unless it says that it is not; a summary may count what was not told one by one.
fn is_damage(kind: &str, line: &Value) -> bool {
    let some = |name: &str| line[name].as_u64().unwrap_or(0) > 0;
    match kind {
        "finding" => line["damage"] != Value::Bool(false),
        "summary" => some("damaged") || some("lost_manifests") || some("lost_tags"),
        _ => false,
    }
}

/// A line of garbage collection; nothing for what is of no interest to people.
fn gc_line(line: &Value, dry_run: bool) -> Option<String> {
    let verb = if dry_run { "would remove" } else { "removed" };
    let text = |name: &str| word(&line[name]);
    let bytes = size(line["size"].as_u64().unwrap_or(0));
    Some(match line["type"].as_str() {
        Some("link") => {
            format!("{verb} the link of {} to blob {} ({bytes})", text("repository"), text("digest"))
        }
        Some("blob") => format!("{verb} blob {} (object {}, {bytes})", text("digest"), text("object")),
        Some("orphan") => format!("{verb} object {}, which no blob has ({bytes})", text("object")),
        Some("upload") => match line["count"].as_u64() {
            Some(number) => format!("{verb} {}", count(number, "abandoned upload")),
            None => format!("{verb} an abandoned upload: {}", generic(line)),
        },
        Some("summary") => {
            let number = |name: &str| line[name].as_u64().unwrap_or(0);
            let blobs = count(number("blobs"), "blob");
            let (links, orphans) = (count(number("links"), "link"), count(number("orphans"), "orphan"));
            let (uploads, bytes) = (count(number("uploads"), "upload"), size(number("bytes")));
            format!("{verb} {blobs}, {links}, {orphans}, {uploads}: {bytes} in all")
        }
        _ => generic(line),
    })
}

/// A line of a check.
fn check_line(line: &Value) -> Option<String> {
    match line["type"].as_str() {
        Some("finding") => {
            let text = line["message"].as_str().map_or_else(|| generic(line), clean);
            let grade = if is_damage("finding", line) { "damage" } else { "notice" };
            Some(format!("{grade}: {text}"))
        }
        // Of use to programs, which read JSON.
        Some("progress") => None,
        Some("summary") => {
            let number = |name: &str| line[name].as_u64().unwrap_or(0);
            let (blobs, manifests) = (count(number("blobs"), "blob"), count(number("manifests"), "manifest"));
            let read = match number("read_bytes") {
                0 => String::new(),
                bytes => format!(", read {}", size(bytes)),
            };
            let (damaged, untidy) = (number("damaged"), number("untidy"));
            let found = if damaged == 0 && untidy == 0 {
                "all is in order".into()
            } else {
                format!("{damaged} damaged, {untidy} untidy")
            };
            Some(format!("checked {blobs} and {manifests}{read}: {found}"))
        }
        _ => Some(generic(line)),
    }
}

/// A line of a rebuild.
fn rebuild_line(line: &Value) -> String {
    let number = |name: &str| line[name].as_u64().unwrap_or(0);
    if line["type"] != "summary" {
        return line["message"].as_str().map_or_else(|| generic(line), clean);
    }
    let (manifests, tags) = (count(number("manifests"), "manifest"), count(number("tags"), "tag"));
    let lost = match (number("lost_manifests"), number("lost_tags")) {
        (0, 0) => "nothing is lost".into(),
        (manifests, tags) => format!("lost {} and {}", count(manifests, "manifest"), count(tags, "tag")),
    };
    format!("rebuilt {manifests} and {tags}: {lost}")
}

/// Any object as `type: name=value ...`, so that a newer server's lines are seen, too.
fn generic(line: &Value) -> String {
    let Some(object) = line.as_object() else { return word(line) };
    let kind = object.get("type").map(word);
    let fields = object.iter().filter(|(name, _)| *name != "type");
    let fields: Vec<String> =
        fields.map(|(name, value)| format!("{}={}", clean(name), word(value))).collect();
    match kind {
        Some(kind) => format!("{kind}: {}", fields.join(" ")),
        None => fields.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_are_told_in_words() {
        let check = |line: Value, dry_run: bool, expect: &str| {
            assert_eq!(gc_line(&line, dry_run).as_deref(), Some(expect));
        };
        let link = json!({"type": "link", "repository": "a/b", "digest": "sha256:1", "size": 2048});
        check(link.clone(), false, "removed the link of a/b to blob sha256:1 (2.0 KiB)");
        check(link, true, "would remove the link of a/b to blob sha256:1 (2.0 KiB)");
        check(json!({"type": "upload", "count": 1}), false, "removed 1 abandoned upload");
        check(
            json!({"type": "summary", "blobs": 1, "links": 2, "orphans": 0, "uploads": 0, "bytes": 5}),
            false,
            "removed 1 blob, 2 links, 0 orphans, 0 uploads: 5 B in all",
        );
        check(json!({"type": "new", "b": 1, "a": "x\u{1b}"}), false, "new: a=x  b=1");
    }

    #[test]
    fn rebuilds_say_what_is_lost() {
        let check = |line: Value, damage: bool, expect: &str| {
            assert_eq!(rebuild_line(&line), expect);
            assert_eq!(is_damage("summary", &line), damage);
        };
        let good = json!({"type": "summary", "manifests": 2, "tags": 1});
        check(good, false, "rebuilt 2 manifests and 1 tag: nothing is lost");
        let bad = json!({"type": "summary", "manifests": 0, "tags": 0, "lost_manifests": 1, "lost_tags": 2});
        check(bad, true, "rebuilt 0 manifests and 0 tags: lost 1 manifest and 2 tags");
        check(json!({"type": "lost", "message": "m"}), false, "m");
    }

    #[test]
    fn findings_are_damage_unless_they_say_otherwise() {
        let check = |line: Value, damage: bool, expect: Option<&str>| {
            let kind = line["type"].as_str().unwrap();
            assert_eq!(is_damage(kind, &line), damage, "{line}");
            assert_eq!(check_line(&line).as_deref(), expect);
        };
        check(json!({"type": "finding", "damage": true, "message": "m"}), true, Some("damage: m"));
        check(json!({"type": "finding", "damage": false, "message": "m"}), false, Some("notice: m"));
        check(json!({"type": "finding", "what": 1}), true, Some("damage: finding: what=1"));
        check(json!({"type": "progress", "done": 1}), false, None);
        check(
            json!({"type": "summary", "blobs": 2, "manifests": 1, "read_bytes": 10, "damaged": 0, "untidy": 0}),
            false,
            Some("checked 2 blobs and 1 manifest, read 10 B: all is in order"),
        );
        check(
            json!({"type": "summary", "blobs": 0, "manifests": 0, "damaged": 1, "untidy": 2}),
            true,
            Some("checked 0 blobs and 0 manifests: 1 damaged, 2 untidy"),
        );
    }
}
