//! `manifest.json` of `docker save`: which images are in the file, and of what they are made.

use std::path::Path;

use oci::{Role, types};
use serde::{Deserialize, Serialize};
use transfer::Document;

use crate::LayoutError;
use crate::content::blob_name;
use crate::local_ref::shorten;

/// The most bytes that are read of it.
pub(crate) const SIZE: u64 = 16 << 20;

/// The most layers of one image: docker itself allows 127.
const LAYERS: usize = 10_000;

/// What configurations of images are.
const CONFIGS: [&str; 2] = [types::OCI_CONFIG, "application/vnd.docker.container.image.v1+json"];

/// How the types of images' layers begin.
const LAYER_TYPES: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];

const NO_IMAGE: &str = "it is not an image. Use oci-archive:";

/// An image in the file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Item {
    /// The member that is its configuration.
    pub config: String,
    /// Its names; `null` where it has none.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The members that are its layers, the lowest first.
    #[serde(default)]
    pub layers: Option<Vec<String>>,
}

/// The image that is meant: the one with this name, or the only one.
pub(crate) fn choose(bytes: &[u8], name: Option<&str>, path: &Path) -> Result<Item, LayoutError> {
    let wrong =
        |why: String| LayoutError::Form { path: path.to_owned(), what: "a file of `docker save`", why };
    let mut items: Vec<Item> =
        serde_json::from_slice(bytes).map_err(|error| wrong(format!("its manifest.json: {error}")))?;
    let at = match name {
        Some(name) => items
            .iter()
            .position(|item| item.repo_tags.iter().flatten().any(|tag| familiar(tag) == familiar(name))),
        None if items.len() > 1 => {
            return Err(LayoutError::Ambiguous { path: path.to_owned(), have: names(&items) });
        }
        None => (!items.is_empty()).then_some(0),
    };
    let Some(at) = at else {
        let what = name.unwrap_or("image").to_owned();
        return Err(LayoutError::Absent { path: path.to_owned(), what, have: names(&items) });
    };
    let item = items.swap_remove(at);
    if item.layers.iter().flatten().count() > LAYERS {
        return Err(wrong(format!("the image has more than {LAYERS} layers")));
    }
    Ok(item)
}

/// A name without what docker adds to it: `docker.io/library/alpine:3` is `alpine:3`.
fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// A name with what docker adds to it: `alpine:3` is `docker.io/library/alpine:3`.
pub(crate) fn full(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host == "localhost" || host.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

/// The names for a message: at most twenty.
fn names(items: &[Item]) -> String {
    let names: Vec<String> =
        items.iter().flat_map(|item| item.repo_tags.iter().flatten()).map(|n| shorten(n)).take(20).collect();
    match (names.is_empty(), items.len()) {
        (false, _) => names.join(", "),
        (true, 0) => "nothing".into(),
        (true, count) => format!("{count} without a name"),
    }
}

/// The file for one image. Says why where docker could not load it.
pub(crate) fn describe(document: &Document, name: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let mut config = None;
    let mut layers = Vec::new();
    for child in &document.manifest.children {
        let member = blob_name(&child.descriptor.digest);
        let media_type = child.descriptor.media_type.as_str();
        match child.role {
            // Charts and signatures have manifests like images, but docker knows nothing else.
            Role::Config if !CONFIGS.contains(&media_type) => return Err(NO_IMAGE),
            Role::Layer if !LAYER_TYPES.iter().any(|start| media_type.starts_with(start)) => {
                return Err(NO_IMAGE);
            }
            Role::Config => config = Some(member),
            Role::Layer => layers.push(member),
            Role::Foreign => return Err("the image has layers that are kept elsewhere. Use oci-archive:"),
            Role::Manifest => return Err(NO_IMAGE),
        }
    }
    let config = config.ok_or("it has no configuration and so is not an image. Use oci-archive:")?;
    let item = Item { config, repo_tags: name.map(|name| vec![name.to_owned()]), layers: Some(layers) };
    serde_json::to_vec(&[item]).map_err(|_| "its manifest.json cannot be written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: &str = r#"[{"Config":"a.json","RepoTags":["alpine:3","team/app:v1"],"Layers":["a/layer.tar"]},
        {"Config":"b.json","RepoTags":null,"Layers":null}]"#;

    #[test]
    fn the_image_that_is_meant_is_found() {
        let check = |text: &str, name: Option<&str>, expect: Result<&str, &str>| {
            let outcome = choose(text.as_bytes(), name, Path::new("f.tar"));
            match (outcome, expect) {
                (Ok(item), Ok(config)) => assert_eq!(item.config, config),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
                (outcome, _) => panic!("{text} {name:?}: {outcome:?}"),
            }
        };
        check(TWO, Some("alpine:3"), Ok("a.json"));
        check(TWO, Some("docker.io/library/alpine:3"), Ok("a.json"));
        check(TWO, Some("docker.io/team/app:v1"), Ok("a.json"));
        check(TWO, Some("other:v1"), Err("alpine:3, team/app:v1"));
        check(TWO, None, Err("more than one"));
        check(r#"[{"Config":"x"}]"#, None, Ok("x"));
        check("[]", None, Err("nothing"));
        check("{}", None, Err("docker save"));
    }

    #[test]
    fn names_have_a_full_form() {
        let check = |name: &str, expect: &str| {
            assert_eq!(full(name), expect);
            assert_eq!(familiar(expect), familiar(name));
        };
        check("alpine:3", "docker.io/library/alpine:3");
        check("team/app:v1", "docker.io/team/app:v1");
        check("localhost:5000/app:v1", "localhost:5000/app:v1");
        check("ghcr.io/a/b:v1", "ghcr.io/a/b:v1");
    }

    proptest! {
        #[test]
        fn no_manifest_panics(bytes: Vec<u8>, tag in "\\PC{0,20}") {
            choose(&bytes, Some(&tag), Path::new("f")).ok();
            let text = serde_json::json!([{"Config": tag, "RepoTags": [tag], "Layers": [tag]}]).to_string();
            prop_assert!(choose(text.as_bytes(), Some(&tag), Path::new("f")).is_ok());
        }
    }
}
