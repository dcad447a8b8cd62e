//! Registries filled with many small images, over the protocol as clients fill them, with names and
//! contents that follow from a number.

use super::client::{self, Blob, Connection};
use super::load::{self, Plan, Stop};
use super::payload::{self, Part, Payload};
use super::server::Server;
use anyhow::Result;

/// The one blob that all seeded manifests refer to.
const EMPTY: &[u8] = b"{}";

/// Connections that fill a store: many, so that pushes share their flushes.
const CONNECTIONS: usize = 64;

/// The shape of a seeded store: repository 0 holds `tags_in_one` images, the others share the rest evenly.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Manifests, each with one tag.
    pub manifests: u64,
    /// Repositories.
    pub repositories: u64,
    /// Tags of repository 0.
    pub tags_in_one: u64,
}

impl Shape {
    /// The repository and the tag of manifest `index`.
    pub fn place(&self, index: u64) -> (String, String) {
        let (repository, tag) = match index.checked_sub(self.tags_in_one) {
            None => (0, index),
            Some(rest) => (1 + rest % (self.repositories - 1), rest / (self.repositories - 1)),
        };
        (repository_name(repository), tag_name(tag))
    }

    /// The shape in words.
    pub fn describe(&self) -> String {
        let Shape { manifests, repositories, tags_in_one } = self;
        format!("{manifests} manifests, {repositories} repositories, {tags_in_one} tags in one")
    }

    /// Fills an empty server.
    pub fn seed(&self, server: &Server) -> Result<()> {
        let digest = payload::digest_of(EMPTY);
        server.store_blob(&repository_name(0), &Blob { digest: digest.clone(), parts: vec![EMPTY] })?;
        let mount = |connection: &mut Connection, number: u64| {
            let repository = repository_name(number + 1);
            let query = format!("mount={digest}&from={}", repository_name(0));
            let target = format!("/v2/{repository}/blobs/uploads/?{query}");
            connection.exchange(&client::request("POST", &target, "Content-Length: 0\r\n"), &[], 201)
        };
        run(server, self.repositories - 1, &mount)?;
        let push = |connection: &mut Connection, index: u64| {
            let (repository, tag) = self.place(index);
            client::push_manifest(connection, &repository, &tag, &manifest(index))?;
            Ok(0)
        };
        run(server, self.manifests, &push)
    }
}

fn run(server: &Server, count: u64, operation: &load::Operation) -> Result<()> {
    let connections = (0..CONNECTIONS).map(|_| server.connect()).collect::<Result<_>>()?;
    load::drive(
        connections,
        Plan { connections: CONNECTIONS, stop: Stop::Count(count), first: 0 },
        operation,
    )?;
    Ok(())
}

/// The name of repository `number`; names sort as their numbers do.
pub fn repository_name(number: u64) -> String {
    format!("scale/r{number:06}")
}

/// The name of tag `number`.
pub fn tag_name(number: u64) -> String {
    format!("t{number:06}")
}

/// The bytes of manifest `index`, all of one length.
pub fn manifest(index: u64) -> Vec<u8> {
    let media_type = "application/vnd.oci.image.config.v1+json";
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": client::MANIFEST_TYPE,
        "config": {"mediaType": media_type, "digest": payload::digest_of(EMPTY), "size": EMPTY.len()},
        "layers": [],
        "annotations": {"org.opencontainers.image.revision": format!("{index:012}")},
    })
    .to_string()
    .into_bytes()
}

/// Pushes image `number` of a family: one small blob and a manifest with one tag.
pub fn push_image(
    connection: &mut Connection,
    repository: &str,
    tag: &str,
    family: &Payload,
    number: u64,
) -> Result<()> {
    let tail = Payload::tail(number);
    let blob = family.blob(family.digest(number), &tail);
    client::push_blob(connection, repository, &blob)?;
    client::push_manifest(connection, repository, tag, &image_manifest(&blob))
}

/// The manifest of an image whose configuration is its only blob.
fn image_manifest(blob: &Blob) -> Vec<u8> {
    payload::manifest(&Part { digest: blob.digest.clone(), size: blob.size() }, &[])
}

/// Pulls image `number` of a family back and checks every byte.
pub fn check_image(
    connection: &mut Connection,
    repository: &str,
    tag: &str,
    family: &Payload,
    number: u64,
) -> Result<()> {
    let tail = Payload::tail(number);
    let blob = family.blob(family.digest(number), &tail);
    let answer = connection.fetch(&client::manifest_request("GET", repository, tag), &[])?;
    anyhow::ensure!(answer.status == 200, "{repository}:{tag} is lost: {}", answer.status);
    anyhow::ensure!(answer.body == image_manifest(&blob), "{repository}:{tag} has changed");
    let get = client::request("GET", &client::blob_path(repository, &blob.digest), "");
    let answer = connection.fetch(&get, &[])?;
    anyhow::ensure!(answer.status == 200, "a blob of {repository}:{tag} is lost: {}", answer.status);
    anyhow::ensure!(answer.body == blob.parts.concat(), "a blob of {repository}:{tag} has changed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_manifest_has_a_place_of_its_own() {
        let shape = Shape { manifests: 1000, repositories: 100, tags_in_one: 500 };
        let places: HashSet<_> = (0..shape.manifests).map(|index| shape.place(index)).collect();
        assert_eq!(places.len(), 1000);
        let repositories: HashSet<_> = places.iter().map(|(repository, _)| repository).collect();
        assert_eq!(repositories.len(), 100);
        let in_one = places.iter().filter(|(repository, _)| *repository == repository_name(0)).count();
        assert_eq!(in_one, 500);
    }
}
