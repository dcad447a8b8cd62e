//! Applying a batch: its conditions, then its writes, then the usage that they changed.
//!
//! Everything here runs inside the writer's transaction and is undone with its savepoint.

mod blob;
mod collect;
mod condition;
mod entry;
mod event;
mod evict;
mod fallback;
mod manifest;
pub(crate) mod project;
mod repository;
mod tag;
mod usage;

use meta::{Batch, Committed, Effect, Origin, Timestamp, Write};

use crate::error::Result;
use crate::sql::Db;
use usage::Usage;

/// The statements whose plans matter on a large store, for the test of plans.
#[cfg(test)]
pub(crate) const HOT: &[&str] = &[
    blob::FIND,
    blob::LINK,
    blob::RENEW,
    blob::RELEASE,
    blob::DAMAGED,
    blob::A_HOLDER,
    collect::EXPIRED,
    collect::DELETABLE,
    collect::FORGET,
    condition::TAG_DIGEST,
    condition::SOUND_LINK,
    condition::BLOB_REFERENCE,
    condition::MANIFEST,
    condition::REVISION,
    condition::BELOW_PROJECT,
    condition::IN_PROJECT,
    entry::FIND,
    entry::OWNERS,
    entry::OWNED,
    entry::DISOWN,
    event::APPEND,
    evict::LIVE,
    evict::IS_HOSTED,
    evict::LINKS,
    fallback::ADD,
    fallback::CUT,
    manifest::FIND,
    manifest::HOLD_BLOBS,
    manifest::RELEASE_BLOBS,
    manifest::TAGS,
    manifest::DROP_REFS,
    manifest::DROP_CONTENT,
    manifest::USED,
    project::TAKE_UP,
    project::IS_USED,
    project::HAND_OVER,
    tag::FIND,
    tag::SET,
    tag::CHECK,
];

/// Does what the batch says, or fails with the change half made.
pub(crate) fn apply(db: Db<'_>, now: Timestamp, batch: &Batch) -> Result<Committed> {
    batch.conditions.iter().try_for_each(|condition| condition::check(db, condition))?;
    let mut change = Change { db, now, origin: &batch.origin, usage: Usage::default() };
    let effects = batch.writes.iter().map(|write| change.write(write)).collect::<Result<_>>()?;
    change.usage.append(db)?;
    Ok(Committed { effects, time: now })
}

/// A batch being applied. Each kind of write has its file.
struct Change<'a> {
    db: Db<'a>,
    now: Timestamp,
    origin: &'a Origin,
    usage: Usage,
}

impl Change<'_> {
    fn write(&mut self, write: &Write) -> Result<Effect> {
        match write {
            Write::Blob { repository, blob } => self.store_blob(repository, blob),
            Write::Link { repository, digest } => self.link(repository, digest),
            Write::Renew { repository, digest } => self.renew(repository, digest),
            Write::Unlink { repository, digest } => self.unlink(repository, digest),
            Write::Manifest { repository, manifest } => self.store_manifest(repository, manifest),
            Write::Tag { repository, tag, digest } => self.set_tag(repository, tag, digest),
            Write::DropManifest { repository, digest } => self.drop_manifest(repository, digest),
            Write::DropTag { repository, tag } => self.drop_tag(repository, tag),
            Write::Mirror { repository } => self.mirror(repository),
            Write::Checked { repository, tag } => self.check_tag(repository, tag),
            Write::Evict { ids, limit } => self.evict(ids, *limit),
            Write::Used { uses } => self.remember_use(uses),
            Write::FallbackUsed { uses, keep } => self.note_fallbacks(uses, *keep),
            Write::ExpireLinks { before, limit } => self.expire_links(*before, *limit),
            Write::Condemn { before, limit } => self.condemn(*before, *limit),
            Write::Forget { ids } => self.forget(ids),
            Write::Damaged { id } => self.set_damage(id, true),
            Write::Sound { id } => self.set_damage(id, false),
            Write::FoldUsage { limit } => self.fold_usage(*limit),
            Write::Setting { name, value } => self.set(name, value),
            Write::Entry(entry) => self.keep_entry(entry),
            Write::DropEntry { kind, name } => self.drop_entry(*kind, name),
        }
    }

    fn set(&self, name: &str, value: &str) -> Result<Effect> {
        const SET: &str = "INSERT INTO setting (name, value) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.db.run(SET, &[name.into(), value.into()])?;
        Ok(Effect::Done)
    }
}

/// What there was to change.
const fn done_if(changed: usize) -> Effect {
    if changed > 0 { Effect::Done } else { Effect::Absent }
}
