//! Manifests and referrers.

use std::ops::ControlFlow;

use bytes::Bytes;
use meta::{ManifestRecord, ReferrerPage, ReferrerQuery};
use oci::{Annotations, Descriptor, Digest, Reference, RepoName};

use crate::error::{Result, damaged};
use crate::sql::{Db, Row, Value, count};

pub(crate) const BY_TAG: &str = "SELECT m.digest, m.media_type, c.bytes, m.used_day FROM repository r
    JOIN tag t ON t.repository_id = r.id AND t.name = ?2
    JOIN manifest m ON m.id = t.manifest_id
    JOIN content c ON c.id = m.content_id
    WHERE r.name = ?1";

pub(crate) const BY_DIGEST: &str = "SELECT m.digest, m.media_type, c.bytes, m.used_day FROM repository r
    JOIN manifest m ON m.repository_id = r.id AND m.digest = ?2
    JOIN content c ON c.id = m.content_id
    WHERE r.name = ?1";

pub(crate) const REFERRERS: &str = "SELECT m.digest, m.media_type, m.size, m.artifact_type, m.annotations
    FROM repository r
    JOIN manifest m ON m.repository_id = r.id AND m.subject = ?2 AND m.digest > ?3
    WHERE r.name = ?1 AND (?4 IS NULL OR m.artifact_type = ?4)
    ORDER BY m.digest LIMIT ?5";

pub(crate) fn manifest(
    db: Db<'_>,
    repository: &RepoName,
    reference: &Reference,
) -> Result<Option<ManifestRecord>> {
    match reference {
        Reference::Tag(tag) => db.first(BY_TAG, &[repository.into(), tag.into()], |row| record(&row, 0)),
        Reference::Digest(digest) => {
            db.first(BY_DIGEST, &[repository.into(), digest.into()], |row| record(&row, 0))
        }
    }
}

/// Reads digest, media type, bytes and day from this column on.
pub(super) fn record(row: &Row<'_>, at: usize) -> Result<ManifestRecord> {
    Ok(ManifestRecord {
        digest: row.digest(at)?,
        media_type: row.media_type(at + 1)?,
        bytes: Bytes::copy_from_slice(row.bytes(at + 2)?),
        used_day: row.int(at + 3)?,
    })
}

pub(crate) fn referrers(db: Db<'_>, query: &ReferrerQuery) -> Result<ReferrerPage> {
    let after = query.after.as_ref().map(Digest::to_stored).unwrap_or_default();
    let values: [Value<'_>; 5] = [
        (&query.repository).into(),
        (&query.subject).into(),
        Value::Stored(after),
        query.artifact_type.as_deref().into(),
        // One more than is given, to know whether there is more.
        count(query.limit.saturating_add(1)),
    ];
    let mut page = ReferrerPage::default();
    let mut bytes = 0;
    db.each(REFERRERS, &values, |row| {
        let annotations = row.text_or_null(4)?;
        bytes += annotations.map_or(0, str::len);
        let full = bytes > query.bytes && !page.descriptors.is_empty();
        if full || page.descriptors.len() == query.limit {
            page.more = true;
            return Ok(ControlFlow::Break(()));
        }
        page.descriptors.push(descriptor(&row, annotations)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

fn descriptor(row: &Row<'_>, annotations: Option<&str>) -> Result<Descriptor> {
    let parse = |text| serde_json::from_str::<Annotations>(text).map_err(|_| damaged("an annotation"));
    Ok(Descriptor {
        artifact_type: row.text_or_null(3)?.map(str::to_owned),
        annotations: annotations.map(parse).transpose()?,
        ..Descriptor::new(row.media_type(1)?, row.digest(0)?, row.number(2)?)
    })
}
