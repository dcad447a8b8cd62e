//! Manifests: their bytes, what they refer to, and what their going sets free.

use meta::{Effect, EventKind, MetaError, NewManifest, RefKind};
use oci::{Digest, RepoName, Tag};

use super::Change;
use super::event::About;
use crate::error::Result;
use crate::sql::{Value, size};

pub(super) const FIND: &str = "SELECT id, content_id, size, media_type, used_day FROM manifest
    WHERE repository_id = ?1 AND digest = ?2";

const REFRESH: &str = "UPDATE manifest SET media_type = ?2, used_day = ?3 WHERE id = ?1";

const FIND_CONTENT: &str = "SELECT id FROM content WHERE digest = ?1";

const INSERT_CONTENT: &str = "INSERT INTO content (digest, bytes) VALUES (?1, ?2) RETURNING id";

const INSERT: &str =
    "INSERT INTO manifest (repository_id, content_id, digest, size, media_type, pushed_at, used_day,
        artifact_type, subject, annotations)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id";

const INSERT_REF: &str = "INSERT INTO manifest_ref (manifest_id, kind, digest, repository_id)
    VALUES (?1, ?2, ?3, ?4) ON CONFLICT (manifest_id, kind, digest) DO NOTHING";

/// The blobs that a manifest refers to are needed from now on.
pub(super) const HOLD_BLOBS: &str = "UPDATE link SET since = NULL
    WHERE repository_id = ?1 AND since IS NOT NULL AND blob_id IN (
        SELECT b.id FROM manifest_ref x JOIN blob b ON b.digest = x.digest AND b.state < 2
        WHERE x.manifest_id = ?2 AND x.kind < 2)";

/// Those that no other manifest of the repository refers to are not needed any more.
pub(super) const RELEASE_BLOBS: &str = "UPDATE link SET since = ?3
    WHERE repository_id = ?1 AND since IS NULL AND blob_id IN (
        SELECT b.id FROM manifest_ref x JOIN blob b ON b.digest = x.digest AND b.state < 2
        WHERE x.manifest_id = ?2 AND x.kind < 2 AND NOT EXISTS (
            SELECT 1 FROM manifest_ref y WHERE y.repository_id = ?1 AND y.digest = x.digest AND y.kind < 2
                AND y.manifest_id <> ?2))
    RETURNING (SELECT r.digest FROM blob r WHERE r.id = blob_id)";

/// All of one repository; named first in the order, it makes this the order of an index.
pub(super) const TAGS: &str = "SELECT name FROM tag WHERE manifest_id = ?1 ORDER BY repository_id, name";

pub(super) const DROP_REFS: &str = "DELETE FROM manifest_ref WHERE manifest_id = ?1";

const DROP: &str = "DELETE FROM manifest WHERE id = ?1";

pub(super) const DROP_CONTENT: &str = "DELETE FROM content
    WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.content_id = ?1)";

pub(super) const USED: &str = "UPDATE manifest SET used_day = ?3
    WHERE repository_id = (SELECT id FROM repository WHERE name = ?1) AND digest = ?2 AND used_day < ?3";

struct Found {
    id: i64,
    content: i64,
    size: u64,
    media_type: String,
    used_day: i64,
}

impl Change<'_> {
    pub(super) fn store_manifest(&mut self, name: &RepoName, manifest: &NewManifest) -> Result<Effect> {
        let repository = self.repository(name)?;
        if let Some(found) = self.find_manifest(repository, &manifest.digest)? {
            return self.refresh(name, &found, manifest);
        }
        let id = self.insert_manifest(repository, manifest)?;
        for (digest, kind) in &manifest.references {
            let kind = match kind {
                RefKind::Blob => 0,
                RefKind::Foreign => 1,
                RefKind::Manifest => 2,
            };
            self.db.run(INSERT_REF, &[id.into(), kind.into(), digest.into(), repository.into()])?;
        }
        self.db.run(HOLD_BLOBS, &[repository.into(), id.into()])?;
        let delta = self.usage.of(repository);
        delta.manifests += 1;
        delta.bytes += size(manifest.bytes.len() as u64);
        self.append(EventKind::ManifestPushed, About::digest(name, &manifest.digest))?;
        Ok(Effect::Manifest { created: true })
    }

    /// The same manifest once more: it was used today, and its media type may have been wrong before.
    fn refresh(&self, name: &RepoName, found: &Found, manifest: &NewManifest) -> Result<Effect> {
        let media_type = manifest.media_type.as_str();
        let day = found.used_day.max(self.now.day());
        if found.media_type != media_type || found.used_day != day {
            self.db.run(REFRESH, &[found.id.into(), media_type.into(), day.into()])?;
        }
        if found.media_type != media_type {
            self.append(EventKind::ManifestPushed, About::digest(name, &manifest.digest))?;
        }
        Ok(Effect::Manifest { created: false })
    }

    fn insert_manifest(&self, repository: i64, manifest: &NewManifest) -> Result<i64> {
        let digest = &manifest.digest;
        let content = match self.db.first(FIND_CONTENT, &[digest.into()], |row| row.int(0))? {
            Some(id) => id,
            None => self.db.insert(INSERT_CONTENT, &[digest.into(), Value::Bytes(&manifest.bytes)])?,
        };
        let annotations = listed_annotations(manifest)?;
        let values: [Value<'_>; 10] = [
            repository.into(),
            content.into(),
            digest.into(),
            size(manifest.bytes.len() as u64).into(),
            manifest.media_type.as_str().into(),
            self.now.into(),
            self.now.day().into(),
            manifest.artifact_type.as_deref().into(),
            manifest.subject.as_ref().into(),
            annotations.as_deref().into(),
        ];
        self.db.insert(INSERT, &values)
    }

    pub(super) fn drop_manifest(&mut self, name: &RepoName, digest: &Digest) -> Result<Effect> {
        let Some(repository) = self.find_repository(name)? else { return Ok(Effect::Absent) };
        let Some(found) = self.find_manifest(repository, digest)? else { return Ok(Effect::Absent) };
        let tags: Vec<Tag> = self.db.all(TAGS, &[found.id.into()], |row| row.tag(0))?;
        for tag in &tags {
            self.remove_tag(name, repository, tag)?;
        }
        let values = [repository.into(), found.id.into(), self.now.into()];
        let released = self.db.all(RELEASE_BLOBS, &values, |row| row.digest(0))?;
        self.db.run(DROP_REFS, &[found.id.into()])?;
        self.db.run(DROP, &[found.id.into()])?;
        self.db.run(DROP_CONTENT, &[found.content.into()])?;
        let delta = self.usage.of(repository);
        delta.manifests -= 1;
        delta.bytes -= size(found.size);
        self.append(EventKind::ManifestDeleted, About::digest(name, digest))?;
        Ok(Effect::Dropped { tags, released })
    }

    pub(super) fn remember_use(&self, uses: &[(RepoName, Digest, i64)]) -> Result<Effect> {
        for (repository, digest, day) in uses {
            self.db.run(USED, &[repository.into(), digest.into(), (*day).into()])?;
        }
        Ok(Effect::Done)
    }

    fn find_manifest(&self, repository: i64, digest: &Digest) -> Result<Option<Found>> {
        self.db.first(FIND, &[repository.into(), digest.into()], |row| {
            Ok(Found {
                id: row.int(0)?,
                content: row.int(1)?,
                size: row.number(2)?,
                media_type: row.text(3)?.to_owned(),
                used_day: row.int(4)?,
            })
        })
    }
}

/// Annotations are stored beside the bytes only where a list of referrers will show them.
fn listed_annotations(manifest: &NewManifest) -> Result<Option<String>> {
    let listed = manifest.annotations.as_ref().filter(|_| manifest.subject.is_some());
    listed
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| MetaError::Failed { action: "writing annotations", reason: error.to_string() })
}
