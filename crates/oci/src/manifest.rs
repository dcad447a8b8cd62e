//! Manifests: what a registry must understand of them, and not more.
//!
//! The bytes are kept verbatim elsewhere; a [`Manifest`] is what was read out of them. [`children`] is the one
//! place that knows which media type refers to what.

use serde::{Deserialize, Deserializer};

use crate::digest::shorten_to;
use crate::{Annotations, Descriptor, Digest, MediaType, types};

/// The most characters that are told of what is wrong with a document: the reason quotes it.
const REASON_MAX: usize = 300;

/// Bounds on a manifest that comes from outside.
#[derive(Clone, Copy, Debug)]
pub struct ManifestLimits {
    /// The most bytes.
    pub size: usize,
    /// The most descriptors in one manifest.
    pub references: usize,
    /// How deep JSON may nest.
    pub depth: usize,
}

impl Default for ManifestLimits {
    fn default() -> Self {
        Self { size: 4 << 20, references: 20_000, depth: 32 }
    }
}

/// Why bytes are not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than allowed.
    #[error("the manifest is larger than the {0} bytes that are allowed")]
    TooLarge(usize),
    /// Nests too deep.
    #[error("the manifest's JSON is nested deeper than {0} levels")]
    TooDeep(usize),
    /// Too many descriptors.
    #[error("the manifest refers to more than {0} blobs and manifests")]
    TooManyReferences(usize),
    /// Not the JSON that its media type says.
    #[error("the manifest cannot be read: {0}")]
    Json(String),
    /// The `mediaType` inside differs from the one it was sent with.
    #[error("the manifest says that it is `{inside}`, but it was sent as `{sent}`")]
    MediaTypeMismatch {
        /// In the document.
        inside: MediaType,
        /// In the request.
        sent: MediaType,
    },
    /// Could be read as a manifest of another kind, too.
    #[error(
        "a `{media_type}` must not have the field `{field}`: what it refers to would depend on who reads it"
    )]
    Ambiguous {
        /// As what it was sent.
        media_type: MediaType,
        /// The field of another kind of manifest.
        field: &'static str,
    },
    /// A media type that is no manifest.
    #[error(
        "`{0}` is not the media type of a manifest that can be stored: use an OCI image manifest or index, or Docker's schema 2"
    )]
    Unsupported(MediaType),
    /// What Docker wrote until 2015.
    #[error(
        "this is a manifest of Docker's schema 1, which is not taken any more: convert the image to schema 2 where it is (`skopeo copy --format v2s2`)"
    )]
    SchemaOne,
    /// Neither the request nor the document has a media type, and the fields do not tell.
    #[error("the manifest has no media type: send it in Content-Type")]
    NoMediaType,
}

/// The two shapes of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// Has a configuration and layers.
    Image,
    /// Has other manifests.
    Index,
}

/// What a manifest refers to something as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The configuration of an image: must be there.
    Config,
    /// A layer or any other blob: must be there.
    Layer,
    /// A layer with addresses elsewhere, or of a non-distributable type: may be absent.
    Foreign,
    /// A manifest in an index: may be absent, the index is sparse then.
    Manifest,
}

impl Role {
    /// Is the child a blob that the repository must hold?
    pub const fn is_required_blob(self) -> bool {
        matches!(self, Self::Config | Self::Layer)
    }
}

/// One thing that a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// As what.
    pub role: Role,
    /// To what.
    pub descriptor: Descriptor,
}

/// What was read out of a manifest's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Image or index.
    pub kind: ManifestKind,
    /// The media type it is stored and served with.
    pub media_type: MediaType,
    /// What it is for referrers: `artifactType`, else the media type of its configuration.
    pub artifact_type: Option<String>,
    /// The manifest that it is about, which may be absent.
    pub subject: Option<Descriptor>,
    /// Its own annotations.
    pub annotations: Option<Annotations>,
    /// All it refers to but the subject, in its order.
    pub children: Vec<Child>,
}

/// The fields of all manifest forms together: what is absent stays empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: Option<u64>,
    media_type: Option<MediaType>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "list")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "list")]
    blobs: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "list")]
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<Annotations>,
}

/// A list that is there. Go writes an empty one as `null`.
fn list<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Vec<Descriptor>>, D::Error> {
    Ok(Some(Option::deserialize(field)?.unwrap_or_default()))
}

impl Manifest {
    /// Reads a manifest that was sent as `sent` (none where the request had no usable Content-Type).
    pub fn parse(
        bytes: &[u8],
        sent: Option<&MediaType>,
        limits: &ManifestLimits,
    ) -> Result<Self, ManifestError> {
        if bytes.len() > limits.size {
            return Err(ManifestError::TooLarge(limits.size));
        }
        if depth(bytes) > limits.depth {
            return Err(ManifestError::TooDeep(limits.depth));
        }
        let fields: Fields = serde_json::from_slice(bytes)
            .map_err(|error| ManifestError::Json(shorten_to(&error.to_string(), REASON_MAX)))?;
        if fields.schema_version == Some(1) {
            return Err(ManifestError::SchemaOne);
        }
        let media_type = settle_media_type(&fields, sent)?;
        let kind = kind_of(&media_type).ok_or_else(|| ManifestError::Unsupported(media_type.clone()))?;
        fields.into_manifest(kind, media_type, limits)
    }
}

impl Fields {
    /// A field with which the same bytes would be a manifest of another kind (the class of CVE-2021-41190): the
    /// references that were checked would not be those that another reader follows.
    fn alien(&self, kind: ManifestKind, media_type: &MediaType) -> Option<&'static str> {
        let config = self.config.is_some().then_some("config");
        let layers = self.layers.is_some().then_some("layers");
        let blobs = self.blobs.is_some().then_some("blobs");
        let manifests = self.manifests.is_some().then_some("manifests");
        match (kind, media_type.as_str()) {
            (ManifestKind::Image, types::OCI_ARTIFACT) => manifests.or(config).or(layers),
            (ManifestKind::Image, _) => manifests.or(blobs),
            (ManifestKind::Index, _) => config.or(layers).or(blobs),
        }
    }

    fn into_manifest(
        self,
        kind: ManifestKind,
        media_type: MediaType,
        limits: &ManifestLimits,
    ) -> Result<Manifest, ManifestError> {
        let missing =
            |field: &str| ManifestError::Json(format!("a `{media_type}` needs the field `{field}`"));
        if media_type.as_str() != types::OCI_ARTIFACT && self.schema_version != Some(2) {
            return Err(ManifestError::Json("`schemaVersion` must be 2".into()));
        }
        if let Some(field) = self.alien(kind, &media_type) {
            return Err(ManifestError::Ambiguous { media_type, field });
        }
        let mut children = Vec::new();
        let mut artifact_type = self.artifact_type;
        match (kind, media_type.as_str()) {
            (ManifestKind::Image, types::OCI_ARTIFACT) => {
                children.extend(self.blobs.unwrap_or_default().into_iter().map(layer));
            }
            (ManifestKind::Image, _) => {
                let config = self.config.ok_or_else(|| missing("config"))?;
                artifact_type =
                    artifact_type.filter(|a| !a.is_empty()).or(Some(config.media_type.to_string()));
                children.push(Child { role: Role::Config, descriptor: config });
                children.extend(self.layers.ok_or_else(|| missing("layers"))?.into_iter().map(layer));
            }
            (ManifestKind::Index, _) => {
                let manifests = self.manifests.ok_or_else(|| missing("manifests"))?;
                children.extend(
                    manifests.into_iter().map(|descriptor| Child { role: Role::Manifest, descriptor }),
                );
            }
        }
        if children.len() > limits.references {
            return Err(ManifestError::TooManyReferences(limits.references));
        }
        Ok(Manifest {
            kind,
            media_type,
            artifact_type,
            subject: self.subject,
            annotations: self.annotations,
            children,
        })
    }
}

fn layer(descriptor: Descriptor) -> Child {
    let media_type = descriptor.media_type.as_str();
    let foreign = !descriptor.urls.is_empty()
        || media_type.starts_with(types::NONDISTRIBUTABLE)
        || media_type.starts_with(types::DOCKER_FOREIGN);
    Child { role: if foreign { Role::Foreign } else { Role::Layer }, descriptor }
}

fn kind_of(media_type: &MediaType) -> Option<ManifestKind> {
    match media_type.as_str() {
        types::OCI_MANIFEST | types::DOCKER_MANIFEST | types::OCI_ARTIFACT => Some(ManifestKind::Image),
        types::OCI_INDEX | types::DOCKER_LIST => Some(ManifestKind::Index),
        _ => None,
    }
}

/// What was sent and what the document says must agree; where neither says, the fields tell.
fn settle_media_type(fields: &Fields, sent: Option<&MediaType>) -> Result<MediaType, ManifestError> {
    let known = |text: &str| text.parse().map_err(|_| ManifestError::NoMediaType);
    match (sent, &fields.media_type) {
        (Some(sent), Some(inside)) if sent != inside => {
            Err(ManifestError::MediaTypeMismatch { inside: inside.clone(), sent: sent.clone() })
        }
        (Some(media_type), _) | (None, Some(media_type)) => Ok(media_type.clone()),
        (None, None) if fields.manifests.is_some() => known(types::OCI_INDEX),
        (None, None) if fields.config.is_some() => known(types::OCI_MANIFEST),
        (None, None) => Err(ManifestError::NoMediaType),
    }
}

/// What the manifest `descriptor` with these bytes refers to, its subject left out; nothing for a blob.
///
/// The one function that tells which media type has which children: push, copy, replicate and check use it.
pub fn children(
    descriptor: &Descriptor,
    bytes: &[u8],
    limits: &ManifestLimits,
) -> Result<Vec<Child>, ManifestError> {
    if kind_of(&descriptor.media_type).is_none() {
        return Ok(Vec::new());
    }
    Ok(Manifest::parse(bytes, Some(&descriptor.media_type), limits)?.children)
}

/// Is this the media type of a manifest, so that it is fetched and pushed as one and not as a blob?
impl MediaType {
    /// Whether content of this type is a manifest or an index.
    pub fn is_manifest(&self) -> bool {
        kind_of(self).is_some()
    }
}

/// How deep the brackets nest, strings left out. Counts before anything recursive reads the bytes.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The digests in `children` that name blobs which the repository must hold, each once.
impl Manifest {
    /// See above: configuration and layers that are not foreign.
    pub fn required_blobs(&self) -> Vec<Digest> {
        let mut digests: Vec<Digest> =
            self.children.iter().filter(|c| c.role.is_required_blob()).map(|c| c.descriptor.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn descriptor(media_type: &str, content: &str) -> String {
        let digest = Digest::sha256(content.as_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#, content.len())
    }

    fn image(layer_type: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            descriptor(types::OCI_CONFIG, "{}"),
            descriptor(layer_type, "layer")
        )
    }

    fn parse(text: &str, sent: Option<&str>) -> Result<Manifest, ManifestError> {
        let sent = sent.map(|text| text.parse().unwrap());
        Manifest::parse(text.as_bytes(), sent.as_ref(), &ManifestLimits::default())
    }

    #[test]
    fn children_have_their_roles() {
        let check = |layer_type: &str, role: Role| {
            let manifest = parse(&image(layer_type), Some(types::OCI_MANIFEST)).unwrap();
            let roles: Vec<Role> = manifest.children.iter().map(|child| child.role).collect();
            assert_eq!(roles, [Role::Config, role], "{layer_type}");
        };
        check("application/vnd.oci.image.layer.v1.tar", Role::Layer);
        check("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Role::Foreign);
        check("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Role::Foreign);
    }

    #[test]
    fn the_media_type_is_settled_once() {
        let text = image("a/b");
        assert_eq!(parse(&text, None).unwrap().media_type.as_str(), types::OCI_MANIFEST);
        assert_eq!(
            parse(&text, Some(types::DOCKER_MANIFEST)).unwrap().media_type.as_str(),
            types::DOCKER_MANIFEST
        );
        assert!(matches!(parse(&text, Some("text/plain")), Err(ManifestError::Unsupported(_))));
        let inside = text.replacen('{', &format!(r#"{{"mediaType":"{}","#, types::OCI_MANIFEST), 1);
        let mismatch = parse(&inside, Some(types::OCI_INDEX));
        assert!(matches!(mismatch, Err(ManifestError::MediaTypeMismatch { .. })));
    }

    #[test]
    fn a_list_may_be_null_and_must_be_there() {
        let config = descriptor(types::OCI_CONFIG, "{}");
        let children = |text: &str| parse(text, None).map(|manifest| manifest.children.len());
        assert_eq!(children(&format!(r#"{{"schemaVersion":2,"config":{config},"layers":null}}"#)), Ok(1));
        assert_eq!(children(r#"{"schemaVersion":2,"manifests":null}"#), Ok(0));
        assert!(children(&format!(r#"{{"schemaVersion":2,"config":{config}}}"#)).is_err());
        assert!(parse(r#"{"schemaVersion":2}"#, Some(types::OCI_INDEX)).is_err());
    }

    #[test]
    fn what_is_two_manifests_at_once_is_refused() {
        let with = |text: &str, field: &str| text.replacen('{', &format!("{{{field},"), 1);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
        let artifact = r#"{"blobs":[]}"#.to_owned();
        let config = format!(r#""config":{}"#, descriptor(types::OCI_CONFIG, "{}"));
        let check = |text: &str, media_type: &str, fields: &[&str]| {
            assert!(parse(text, Some(media_type)).is_ok(), "{text}");
            for field in fields {
                let refused = parse(&with(text, field), Some(media_type));
                assert!(matches!(refused, Err(ManifestError::Ambiguous { .. })), "{media_type} with {field}");
            }
        };
        for media_type in [types::OCI_MANIFEST, types::DOCKER_MANIFEST] {
            check(&image("a/b"), media_type, &[r#""manifests":[]"#, r#""manifests":null"#, r#""blobs":[]"#]);
        }
        for media_type in [types::OCI_INDEX, types::DOCKER_LIST] {
            check(&index, media_type, &[&config, r#""layers":[]"#, r#""layers":null"#, r#""blobs":[]"#]);
        }
        check(&artifact, types::OCI_ARTIFACT, &[r#""manifests":[]"#, &config, r#""layers":[]"#]);
    }

    #[test]
    fn bad_documents_are_refused() {
        let check = |text: &str| assert!(parse(text, Some(types::OCI_MANIFEST)).is_err(), "{text}");
        let image = image("a/b");
        for text in ["", "{", "null", "[]", "{}", r#"{"schemaVersion":1}"#, &image.replace("sha256", "md5")] {
            check(text);
        }
        let old = r#"{"schemaVersion":1,"name":"a/b","fsLayers":[],"signatures":[]}"#;
        assert!(matches!(parse(old, None), Err(ManifestError::SchemaOne)));
        check(&image.replace("\"size\":5", "\"size\":-5"));
        check(&format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)));
        assert!(matches!(parse(&"[".repeat(33), None), Err(ManifestError::TooDeep(32))));
    }

    #[test]
    fn an_artifact_is_of_its_configuration_type_unless_it_says() {
        let manifest = parse(&image("a/b"), None).unwrap();
        assert_eq!(manifest.artifact_type.as_deref(), Some(types::OCI_CONFIG));
        let index = parse(r#"{"schemaVersion":2,"manifests":[]}"#, None).unwrap();
        assert_eq!((index.kind, index.artifact_type), (ManifestKind::Index, None));
    }

    #[test]
    fn a_reason_is_short_whatever_it_quotes() {
        for long in ["x".repeat(1 << 20), "\\n".repeat(1 << 20)] {
            let reason = parse(&format!(r#"{{"schemaVersion":"{long}"}}"#), None).unwrap_err().to_string();
            assert!(reason.len() < 400 && !reason.contains('\n'), "{} bytes", reason.len());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(Manifest::parse(&bytes, None, &ManifestLimits::default()).is_err());
        }

        #[test]
        fn no_damaged_manifest_panics(at in 0_usize..200, byte: u8) {
            let mut bytes = image("a/b").into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _outcome = Manifest::parse(&bytes, None, &ManifestLimits::default());
        }
    }
}
