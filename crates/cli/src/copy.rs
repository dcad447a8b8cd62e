//! `wharf copy`.

use anyhow::{Result, bail};
use oci::{Descriptor, Reference, Tag, types};
use transfer::{Options, Report, copy_graph, select_platform};

use crate::args::CopyFlags;
use crate::bars::progress;
use crate::end::End;
use crate::out::Out;
use crate::text::{count, size};

pub(crate) async fn run(flags: CopyFlags, out: &mut Out) -> Result<()> {
    let source_settings = flags.connect.settings(flags.src_plain_http);
    let target_settings = flags.connect.settings(flags.dest_plain_http);
    let source = flags.source.source(&source_settings).await?;
    let options = Options {
        jobs: flags.jobs.get().into(),
        platform: None,
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
    let target = flags.target.target(&target_settings).await?;
    let (root, report) = copy_graph(source, target, root, &options, progress(flags.quiet)).await?;
    if !flags.quiet {
        eprintln!("{}", summary(&report));
    }
    out.line(root.digest)?;
    out.finish()
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
    use super::*;

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
