//! `wharf copy`.

use anyhow::{Result, bail};
use oci::{Descriptor, Reference, Tag, types};
use transfer::{Options, Report, copy_graph, select_platform};

use crate::args::{ConnectFlags, CopyFlags};
use crate::bars::progress;
use crate::end::End;
use crate::out::Out;
use crate::text::{count, size};

pub(crate) async fn run(flags: CopyFlags, out: &mut Out) -> Result<()> {
    let (source_flags, target_flags) = connections(&flags)?;
    if flags.referrers && !flags.target.has_referrers() {
        bail!(
            "{} has no room for referrers: leave out --referrers, or use oci: or oci-archive:",
            flags.target
        );
    }
    let source = flags.source.source(&source_flags.settings()).await?;
    let options = Options {
        jobs: flags.jobs.get().into(),
        referrers: flags.referrers,
        sparse: flags.sparse,
        foreign: flags.foreign_layers,
        tags: tags(&flags.source, &flags.target),
        ..Options::default()
    };
    let mut root = source.resolve(flags.source.reference()).await?;
    if let Some(platform) = &flags.platform {
        root = select_platform(&source, root, platform, &options.limits).await?;
    }
    // Before the target is touched: what cannot succeed leaves nothing behind.
    admit(&flags.target, &root)?;
    let target = flags.target.target(&target_flags.settings()).await?;
    let report = copy_graph(source, target, root.clone(), &options, progress(flags.quiet)).await?;
    if !flags.quiet {
        eprintln!("{}", summary(&report));
    }
    out.line(root.digest)?;
    out.finish()
}

/// How to reach the source, and how the target. What makes a connection unsafe must be said of one of two
/// registries: said of both, it would send the credentials of the other into the open as well.
fn connections(flags: &CopyFlags) -> Result<(ConnectFlags, ConnectFlags)> {
    let CopyFlags { connect, source_connect: src, target_connect: dest, .. } = flags;
    if let (End::Registry(source), End::Registry(target)) = (&flags.source, &flags.target)
        && source.host != target.host
        && !source.host.is_loopback()
        && !target.host.is_loopback()
    {
        let name = match connect {
            ConnectFlags { plain_http: true, .. } => Some("plain-http"),
            ConnectFlags { tls_verify: Some(false), .. } => Some("tls-verify=false"),
            _ => None,
        };
        if let Some(name) = name {
            bail!(
                "--{name} would hold for {} and for {}, and for the credentials of both. \
                 Say which is meant: --src-{name} or --dest-{name}",
                source.host,
                target.host
            );
        }
    }
    let source = ConnectFlags {
        plain_http: src.src_plain_http,
        tls_verify: src.src_tls_verify,
        ca: src.src_ca.clone(),
    };
    let target = ConnectFlags {
        plain_http: dest.dest_plain_http,
        tls_verify: dest.dest_tls_verify,
        ca: dest.dest_ca.clone(),
    };
    Ok((connect.with(source), connect.with(target)))
}

/// The tags at the target: the one that is named, or else the one that the source was named by.
fn tags(source: &End, target: &End) -> Vec<Tag> {
    if !target.has_tags() {
        return Vec::new();
    }
    let reference = match (target.reference(), source.reference()) {
        (None, None) if matches!(source, End::Registry(_)) => return "latest".parse().into_iter().collect(),
        (None, reference) | (reference, _) => reference,
    };
    match reference {
        Some(Reference::Tag(tag)) => vec![tag.clone()],
        Some(Reference::Digest(_)) | None => Vec::new(),
    }
}

fn admit(target: &End, root: &Descriptor) -> Result<()> {
    if let Some(Reference::Digest(wanted)) = target.reference()
        && *wanted != root.digest
    {
        bail!(
            "{target} asks for {wanted}, but what would be copied is {}. Leave the digest out, or copy that one",
            root.digest
        );
    }
    let is_index = matches!(root.media_type.as_str(), types::OCI_INDEX | types::DOCKER_LIST);
    if target.is_single() && is_index {
        bail!("{target} holds a single image. Choose one with --platform, or use oci-archive:");
    }
    Ok(())
}

fn summary(report: &Report) -> String {
    let Report { manifests, blobs, mounted, present, skipped, bytes } = *report;
    let mut parts = vec![
        format!("copied {}", count(manifests, "manifest")),
        format!("{} ({})", count(blobs, "blob"), size(bytes)),
    ];
    for (number, what) in [(mounted, "mounted"), (present, "present"), (skipped, "left out")] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn parse(line: &str) -> CopyFlags {
        let args = Args::try_parse_from(format!("wharf copy {line}").split(' ')).unwrap();
        let Command::Copy(flags) = args.command else { panic!("another command") };
        flags
    }

    #[test]
    fn each_end_is_reached_in_its_own_way() {
        type Way = (bool, Option<bool>, Option<&'static str>);
        let check = |options: &str, source: Way, target: Way| {
            let (from, to) = connections(&parse(&format!("a.io/x b.lab/x {options}"))).unwrap();
            for (got, expect) in [(from, source), (to, target)] {
                let ca = got.ca.as_ref().and_then(|path| path.to_str());
                assert_eq!((got.plain_http, got.tls_verify, ca), expect, "{options}");
            }
        };
        let none = (false, None, None);
        check("--dest-tls-verify=false", none, (false, Some(false), None));
        check("--src-plain-http", (true, None, None), none);
        check("--dest-ca f", none, (false, None, Some("f")));
        check("--ca f --src-ca g", (false, None, Some("g")), (false, None, Some("f")));
        check("--tls-verify --src-tls-verify=false", (false, Some(false), None), (false, Some(true), None));
    }

    #[test]
    fn two_registries_are_not_made_unsafe_by_one_word() {
        let check = |line: &str, word: Option<&str>| {
            let error = connections(&parse(line)).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), word.is_some(), "{line}: {error:?}");
            assert!(error.unwrap_or_default().contains(word.unwrap_or_default()), "{line}");
        };
        check("a.io/x b.lab/x --tls-verify=false", Some("--dest-tls-verify=false"));
        check("a.io/x b.lab/x --plain-http", Some("--src-plain-http"));
        check("a.io/x b.lab/x --tls-verify --ca f", None);
        check("a.io/x a.io/y --plain-http", None);
        check("a.io/x oci:x --tls-verify=false", None);
        check("a.io/x localhost:5000/x --plain-http", None);
    }

    #[test]
    fn the_target_is_tagged_as_it_says_or_as_the_source() {
        let digest = oci::Digest::sha256(b"");
        let by_digest = format!("h.io/a@{digest}");
        let check = |source: &str, target: &str, expect: &[&str]| {
            let tags = tags(&source.parse().unwrap(), &target.parse().unwrap());
            let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            assert_eq!(tags, expect, "{source} {target}");
        };
        check("h.io/a:v1", "g.io/b:v2", &["v2"]);
        check("h.io/a:v1", "g.io/b", &["v1"]);
        check("h.io/a", "g.io/b", &["latest"]);
        check("h.io/a", "oci:dir", &["latest"]);
        check(&by_digest, "g.io/b", &[]);
        check(&by_digest, "g.io/b:v2", &["v2"]);
        check("h.io/a:v1", &by_digest, &[]);
        check("oci:dir", "g.io/b", &[]);
        check("oci:dir:v1", "g.io/b", &["v1"]);
        check("h.io/a:v1", "dir:x", &[]);
        check("h.io/a:v1", "docker-archive:x", &[]);
    }

    #[test]
    fn what_does_not_fit_is_refused_at_once() {
        let index = Descriptor::new(types::OCI_INDEX.parse().unwrap(), oci::Digest::sha256(b""), 0);
        let other = oci::Digest::sha256(b"x");
        let check = |target: &str, word: Option<&str>| {
            let outcome = admit(&target.parse().unwrap(), &index).map_err(|error| error.to_string());
            match (outcome, word) {
                (Ok(()), None) => {}
                (Err(error), Some(word)) => assert!(error.contains(word), "{error}"),
                (outcome, _) => panic!("{target}: {outcome:?}"),
            }
        };
        check("oci:dir", None);
        check("docker-archive:x.tar", Some("--platform"));
        check(&format!("h.io/a@{other}"), Some("asks for"));
    }
}
