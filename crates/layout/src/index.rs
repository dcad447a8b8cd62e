//! `index.json`, the list at the top of an image layout. What others wrote into it is kept.

use std::path::Path;

use oci::{Descriptor, Digest, Reference, Tag};
use serde_json::{Map, Value, json};

use crate::LayoutError;

/// The most bytes of an index that are read.
pub(crate) const SIZE: u64 = 16 << 20;

/// The annotation that holds a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation in which docker and podman look for a full name.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// The index of a layout.
pub(crate) struct Index(Map<String, Value>);

impl Index {
    /// An index of nothing.
    pub fn empty() -> Self {
        let mut index = Map::new();
        index.insert("schemaVersion".into(), json!(2));
        index.insert("mediaType".into(), json!(oci::types::OCI_INDEX));
        index.insert("manifests".into(), json!([]));
        Self(index)
    }

    /// Reads the index of the layout at `path`.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, LayoutError> {
        let wrong = |why: String| LayoutError::Form {
            path: path.to_owned(),
            what: "an OCI image layout",
            why: format!("its index.json {why}"),
        };
        let index: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        match index.get("manifests") {
            Some(Value::Array(_)) => Ok(Self(index)),
            _ => Err(wrong("has no list of manifests".into())),
        }
    }

    /// The document.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_else(|_| unreachable!("a JSON value can be written"))
    }

    /// The entries that are descriptors, with their tags.
    pub fn entries(&self) -> impl Iterator<Item = (Descriptor, Option<&str>)> {
        self.list().iter().filter_map(|entry| Some((descriptor(entry)?, tag_of(entry))))
    }

    /// What is named by a tag or a digest; without either, the only entry.
    pub fn find(&self, reference: Option<&Reference>, path: &Path) -> Result<Descriptor, LayoutError> {
        let mut found = self.entries().filter(|(descriptor, tag)| match reference {
            None => true,
            Some(Reference::Tag(wanted)) => *tag == Some(wanted.as_str()),
            Some(Reference::Digest(digest)) => descriptor.digest == *digest,
        });
        match (found.next(), reference) {
            (Some((first, _)), Some(_)) => Ok(first),
            (Some((first, _)), None) if found.all(|(other, _)| other.digest == first.digest) => Ok(first),
            (Some(_), None) => Err(LayoutError::Ambiguous { path: path.to_owned(), have: self.names() }),
            (None, _) => {
                let what = reference.map_or_else(|| "image".to_owned(), ToString::to_string);
                Err(LayoutError::Absent { path: path.to_owned(), what, have: self.names() })
            }
        }
    }

    /// Adds an entry without a tag, unless the manifest has one.
    pub fn add(&mut self, manifest: &Descriptor) {
        if !self.entries().any(|(descriptor, _)| descriptor.digest == manifest.digest) {
            self.push(entry(manifest));
        }
    }

    /// Makes `tag` name this manifest and nothing else.
    pub fn tag(&mut self, manifest: &Descriptor, tag: &Tag) {
        let replaced = |entry: &Value| {
            tag_of(entry) == Some(tag.as_str())
                || (tag_of(entry).is_none() && digest_of(entry) == Some(manifest.digest))
        };
        if let Some(Value::Array(entries)) = self.0.get_mut("manifests") {
            entries.retain(|entry| !replaced(entry));
        }
        let mut entry = entry(manifest);
        entry["annotations"][REF_NAME] = json!(tag);
        self.push(entry);
    }

    /// Adds an entry with the full name that it has in docker, such as `docker.io/team/app:v1`.
    pub fn add_image(&mut self, manifest: &Descriptor, name: &str) {
        let mut entry = entry(manifest);
        entry["annotations"] = json!({IMAGE_NAME: name, REF_NAME: name.rsplit(':').next()});
        self.push(entry);
    }

    fn list(&self) -> &[Value] {
        self.0.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, entry: Value) {
        if let Some(Value::Array(entries)) = self.0.get_mut("manifests") {
            entries.push(entry);
        }
    }

    /// The tags, or digests where there are none, for a message: at most twenty.
    fn names(&self) -> String {
        let name = |(descriptor, tag): (Descriptor, Option<&str>)| match tag {
            Some(tag) => crate::local_ref::shorten(tag),
            None => descriptor.digest.to_string(),
        };
        let names: Vec<String> = self.entries().map(name).take(20).collect();
        if names.is_empty() { "nothing".into() } else { names.join(", ") }
    }
}

/// A descriptor as an entry: annotations and platform of its place in another index do not belong here.
fn entry(manifest: &Descriptor) -> Value {
    let Descriptor { media_type, digest, size, artifact_type, .. } = manifest.clone();
    json!(Descriptor { artifact_type, ..Descriptor::new(media_type, digest, size) })
}

fn descriptor(entry: &Value) -> Option<Descriptor> {
    serde_json::from_value(entry.clone()).ok()
}

fn digest_of(entry: &Value) -> Option<Digest> {
    entry.get("digest")?.as_str()?.parse().ok()
}

fn tag_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(content: &str) -> Descriptor {
        let media_type = oci::types::OCI_MANIFEST.parse().unwrap();
        Descriptor::new(media_type, Digest::sha256(content.as_bytes()), content.len() as u64)
    }

    fn tags(index: &Index) -> Vec<(Digest, Option<&str>)> {
        index.entries().map(|(descriptor, tag)| (descriptor.digest, tag)).collect()
    }

    #[test]
    fn a_tag_names_one_manifest() {
        let (a, b) = (manifest("a"), manifest("bb"));
        let (v1, v2): (Tag, Tag) = ("v1".parse().unwrap(), "v2".parse().unwrap());
        let mut index = Index::empty();
        index.add(&a);
        index.add(&a);
        index.tag(&a, &v1);
        assert_eq!(tags(&index), [(a.digest, Some("v1"))]);
        index.tag(&a, &v2);
        index.tag(&b, &v1);
        assert_eq!(tags(&index), [(a.digest, Some("v2")), (b.digest, Some("v1"))]);
        index.add(&a);
        assert_eq!(tags(&index).len(), 2);
    }

    #[test]
    fn what_is_named_is_found() {
        let (a, b) = (manifest("a"), manifest("bb"));
        let mut index = Index::empty();
        let path = Path::new("layout");
        assert!(matches!(index.find(None, path), Err(LayoutError::Absent { .. })));
        index.tag(&a, &"v1".parse().unwrap());
        assert_eq!(index.find(None, path).unwrap().digest, a.digest);
        index.add(&b);
        let error = index.find(None, path).unwrap_err().to_string();
        assert!(error.contains("v1") && error.contains(&b.digest.to_string()), "{error}");
        let check = |text: &str, expect: Option<Digest>| {
            let found = index.find(Some(&text.parse().unwrap()), path);
            assert_eq!(found.ok().map(|d| d.digest), expect, "{text}");
        };
        check("v1", Some(a.digest));
        check(&b.digest.to_string(), Some(b.digest));
        check("v2", None);
    }

    #[test]
    fn what_others_wrote_is_kept() {
        let text = br#"{"schemaVersion":2,"manifests":[{"odd":true}],"annotations":{"x":"y"}}"#;
        let mut index = Index::parse(text, Path::new("x")).unwrap();
        index.tag(&manifest("a"), &"v1".parse().unwrap());
        let written = String::from_utf8(index.to_bytes()).unwrap();
        assert!(written.contains(r#""odd":true"#) && written.contains(r#""x":"y""#), "{written}");
    }

    proptest! {
        #[test]
        fn no_index_panics(bytes: Vec<u8>, value in "\\PC{0,20}") {
            let parse = |bytes: &[u8]| {
                if let Ok(mut index) = Index::parse(bytes, Path::new("x")) {
                    index.find(None, Path::new("x")).ok();
                    index.tag(&manifest("a"), &"v1".parse().unwrap());
                    index.to_bytes();
                }
            };
            parse(&bytes);
            parse(json!({"manifests": [{"digest": value, "annotations": {REF_NAME: value}}]}).to_string().as_bytes());
            parse(json!({"manifests": [value, {"annotations": value}]}).to_string().as_bytes());
        }
    }
}
