//! How local ends are written: `oci:DIR[:tag]` and its like.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use oci::{Reference, Tag};
use transfer::{Source, Target, TransferError};

use crate::LayoutError;
use crate::archive::{ArchiveTarget, open_archive};
use crate::blocking::blocking;
use crate::dir::{DirSource, DirTarget};
use crate::docker::open_docker_archive;
use crate::folder::{FolderTarget, open_folder};

/// The forms of local ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An OCI image layout in a folder.
    Oci,
    /// An OCI image layout in a tar file.
    OciArchive,
    /// A file of `docker save`.
    DockerArchive,
    /// A flat folder as skopeo writes it.
    Dir,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Oci, Self::OciArchive, Self::DockerArchive, Self::Dir];

    /// The word before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::Dir => "dir",
        }
    }
}

/// What is named within a local end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Nothing,
    Reference(Reference),
    /// In the files of `docker save`, images have their full names.
    Image(String),
}

/// A local end, and what is meant in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRef {
    kind: Kind,
    path: PathBuf,
    name: Name,
}

impl LocalRef {
    /// Which form.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The tag or digest that is named.
    pub const fn reference(&self) -> Option<&Reference> {
        match &self.name {
            Name::Reference(reference) => Some(reference),
            Name::Nothing | Name::Image(_) => None,
        }
    }

    /// Opens it to read from.
    pub async fn source(&self) -> Result<Arc<dyn Source>, TransferError> {
        let Self { kind, path, name } = self.clone();
        blocking(move || -> Result<Arc<dyn Source>, LayoutError> {
            Ok(match (kind, name) {
                (Kind::Oci, _) => Arc::new(open_folder(path)?),
                (Kind::OciArchive, _) => Arc::new(open_archive(path)?),
                (Kind::DockerArchive, Name::Image(image)) => open_docker_archive(path, Some(&image))?,
                (Kind::DockerArchive, _) => open_docker_archive(path, None)?,
                (Kind::Dir, _) => Arc::new(DirSource::open(path)?),
            })
        })
        .await
    }

    /// Opens it to write to.
    pub async fn target(&self) -> Result<Arc<dyn Target>, TransferError> {
        let Self { kind, path, name } = self.clone();
        blocking(move || -> Result<Arc<dyn Target>, LayoutError> {
            Ok(match (kind, name) {
                (Kind::Oci, _) => Arc::new(FolderTarget::open(path)?),
                (Kind::OciArchive, _) => Arc::new(ArchiveTarget::oci(path)?),
                (Kind::DockerArchive, Name::Image(image)) => {
                    Arc::new(ArchiveTarget::docker(path, Some(image))?)
                }
                (Kind::DockerArchive, _) => Arc::new(ArchiveTarget::docker(path, None)?),
                (Kind::Dir, _) => Arc::new(DirTarget::open(path)?),
            })
        })
        .await
    }
}

impl FromStr for LocalRef {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let wrong = |why: String| LayoutError::Reference { text: shorten(text), why };
        let kind = Kind::ALL.into_iter().find_map(|kind| {
            let rest = text.strip_prefix(kind.name())?.strip_prefix(':')?;
            Some((kind, rest))
        });
        let (kind, rest) = kind.ok_or_else(|| {
            wrong(
                "write oci:DIR[:tag], oci-archive:FILE[:tag], docker-archive:FILE[:name:tag] or dir:DIR"
                    .into(),
            )
        })?;
        let (path, name) = match kind {
            Kind::Dir => (rest, Name::Nothing),
            Kind::DockerArchive => match rest.split_once(':') {
                Some((path, image)) => (path, Name::Image(image_name(image).map_err(wrong)?)),
                None => (rest, Name::Nothing),
            },
            Kind::Oci | Kind::OciArchive => {
                split_reference(rest).map_err(|error| wrong(error.to_string()))?
            }
        };
        if path.is_empty() {
            return Err(wrong(format!("a path belongs after `{}:`", kind.name())));
        }
        Ok(Self { kind, path: path.into(), name })
    }
}

/// `path`, `path:tag`, `path@digest`.
fn split_reference(text: &str) -> Result<(&str, Name), oci::NameError> {
    if let Some((path, digest)) = text.rsplit_once('@')
        && (digest.starts_with("sha256:") || digest.starts_with("sha512:"))
    {
        return Ok((path, Name::Reference(Reference::Digest(digest.parse()?))));
    }
    match text.split_once(':') {
        Some((path, tag)) => Ok((path, Name::Reference(Reference::Tag(tag.parse::<Tag>()?)))),
        None => Ok((text, Name::Nothing)),
    }
}

/// The name of an image as docker has it: `name:tag`, `latest` where no tag is written.
fn image_name(text: &str) -> Result<String, String> {
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (text, "latest"),
    };
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/:".contains(&b);
    let good =
        !name.is_empty() && name.len() <= 400 && name.bytes().all(word) && !name.starts_with(['/', ':']);
    if good && tag.parse::<Tag>().is_ok() {
        Ok(format!("{name}:{tag}"))
    } else {
        Err("after the file belongs the image's name and tag, such as team/app:v1".into())
    }
}

impl fmt::Display for LocalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.path.display())?;
        match &self.name {
            Name::Nothing => Ok(()),
            Name::Reference(Reference::Tag(tag)) => write!(f, ":{tag}"),
            Name::Reference(Reference::Digest(digest)) => write!(f, "@{digest}"),
            Name::Image(image) => write!(f, ":{image}"),
        }
    }
}

/// Outside text in an error message: bounded, and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn local_ends_are_read_as_people_write_them() {
        let digest = oci::Digest::sha256(b"");
        let with_digest = format!("oci:/a:b/c@{digest}");
        let check = |text: &str, expect: Option<&str>| {
            let parsed = text.parse::<LocalRef>().map(|end| end.to_string());
            assert_eq!(parsed.as_deref().ok(), expect, "{text}: {parsed:?}");
        };
        check("oci:dir", Some("oci:dir"));
        check("oci:/a/b:v1", Some("oci:/a/b:v1"));
        check(&with_digest, Some(&with_digest));
        check("oci-archive:a.tar:v1", Some("oci-archive:a.tar:v1"));
        check("docker-archive:a.tar", Some("docker-archive:a.tar"));
        check("docker-archive:a.tar:team/app", Some("docker-archive:a.tar:team/app:latest"));
        check("docker-archive:a.tar:host:5000/app:v1", Some("docker-archive:a.tar:host:5000/app:v1"));
        check("docker-archive:a.tar:host:5000/app", Some("docker-archive:a.tar:host:5000/app:latest"));
        check("dir:a:b", Some("dir:a:b"));
        for bad in [
            "",
            "oci",
            "oci:",
            "oci::v1",
            "oci:d:",
            "oci:d:.x",
            "tar:x",
            "docker-archive:f:",
            "docker-archive:f:A",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back(text in "(oci|oci-archive|docker-archive|dir):[a-z0-9:/@.]{0,30}") {
            if let Ok(end) = text.parse::<LocalRef>() {
                prop_assert_eq!(end.to_string().parse::<LocalRef>().unwrap(), end);
            }
        }
    }
}
