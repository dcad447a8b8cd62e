//! `wharf inspect`.

use std::sync::Arc;

use anyhow::Result;
use oci::{Annotations, Descriptor, Digest, MediaType, Platform, Role};
use serde::{Deserialize, Serialize};
use transfer::{Document, Limits, Source, fetch, read_small, select_platform};

use crate::args::InspectFlags;
use crate::out::Out;
use crate::text::{clean, size};

/// The most bytes of a configuration that are read.
const CONFIG: u64 = 16 << 20;

/// What is said of a manifest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    reference: String,
    digest: Digest,
    media_type: MediaType,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
    #[serde(flatten)]
    image: Option<Image>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    referrers: Vec<Descriptor>,
}

/// What an image's configuration says of it.
#[derive(Serialize)]
struct Image {
    os: String,
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    labels: Annotations,
}

impl Image {
    fn parse(config: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Config {
            os: String,
            architecture: String,
            variant: Option<String>,
            created: Option<String>,
            config: Option<Run>,
        }
        #[derive(Deserialize)]
        struct Run {
            #[serde(rename = "Labels")]
            labels: Option<Annotations>,
        }
        let Config { os, architecture, variant, created, config } = serde_json::from_slice(config).ok()?;
        let labels = config.and_then(|run| run.labels).unwrap_or_default();
        Some(Self { os, architecture, variant, created, labels })
    }
}

pub(crate) async fn run(flags: InspectFlags, out: &mut Out) -> Result<()> {
    let source = flags.end.source(&flags.connect.settings()).await?;
    let limits = Limits::default();
    let mut root = source.resolve(flags.end.reference()).await?;
    if let Some(platform) = &flags.platform {
        root = select_platform(&source, root, platform, &limits).await?;
    }
    let document = fetch(source.as_ref(), &root, &limits.manifest).await?;
    if flags.raw {
        out.bytes(&document.bytes)?;
        return out.finish();
    }
    let about = describe(flags.end.to_string(), &source, document).await?;
    if flags.json {
        out.line(serde_json::to_string_pretty(&about)?)?;
    } else {
        print(&about, out)?;
    }
    out.finish()
}

async fn describe(reference: String, source: &Arc<dyn Source>, document: Document) -> Result<About> {
    let Document { descriptor, manifest, .. } = document;
    let mut about = About {
        reference,
        digest: descriptor.digest,
        media_type: descriptor.media_type,
        size: descriptor.size,
        artifact_type: manifest.artifact_type,
        subject: manifest.subject.map(|subject| subject.digest),
        annotations: manifest.annotations,
        image: None,
        layers: Vec::new(),
        manifests: Vec::new(),
        referrers: source.referrers(&descriptor.digest).await?,
    };
    for child in manifest.children {
        match child.role {
            Role::Config => about.image = image(source, &child.descriptor).await?,
            Role::Layer | Role::Foreign => about.layers.push(child.descriptor),
            Role::Manifest => about.manifests.push(child.descriptor),
        }
    }
    Ok(about)
}

/// What the configuration says, where it is one of an image.
async fn image(source: &Arc<dyn Source>, config: &Descriptor) -> Result<Option<Image>> {
    let is_image = config.media_type.as_str().contains(".image.") && config.size <= CONFIG;
    if !is_image {
        return Ok(None);
    }
    let bytes = read_small(source, config, CONFIG).await?;
    Ok(Image::parse(&bytes))
}

fn print(about: &About, out: &mut Out) -> Result<()> {
    let mut field = |name: &str, value: &str| out.line(format_args!("{name:<12} {}", clean(value)));
    field("reference", &about.reference)?;
    field("digest", &about.digest.to_string())?;
    field("media type", about.media_type.as_str())?;
    field("size", &size(about.size))?;
    if let Some(artifact_type) = &about.artifact_type {
        field("kind", artifact_type)?;
    }
    if let Some(subject) = &about.subject {
        field("subject", &subject.to_string())?;
    }
    if let Some(image) = &about.image {
        let Image { os, architecture, variant, created, labels } = image;
        field("platform", &platform(os, architecture, variant.as_deref()))?;
        if let Some(created) = created {
            field("created", created)?;
        }
        for (name, value) in labels {
            field("label", &format!("{name}={value}"))?;
        }
    }
    for (name, value) in about.annotations.iter().flatten() {
        field("annotation", &format!("{name}={value}"))?;
    }
    for (name, list) in
        [("manifest", &about.manifests), ("layer", &about.layers), ("referrer", &about.referrers)]
    {
        for descriptor in list {
            field(name, &line(descriptor))?;
        }
    }
    Ok(())
}

fn line(descriptor: &Descriptor) -> String {
    let Descriptor { digest, media_type, artifact_type, platform: at, .. } = descriptor;
    let what = match (at, artifact_type) {
        (Some(Platform { os, architecture, variant, .. }), _) => {
            platform(os, architecture, variant.as_deref())
        }
        (None, Some(artifact_type)) => artifact_type.clone(),
        (None, None) => media_type.to_string(),
    };
    format!("{digest} {:>10} {what}", size(descriptor.size))
}

fn platform(os: &str, architecture: &str, variant: Option<&str>) -> String {
    match variant {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    }
}
