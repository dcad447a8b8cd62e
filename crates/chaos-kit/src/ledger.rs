//! The book of what the registry acknowledged, and of what it may have done without saying so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use power_cut::Dice;

use crate::content::{Blob, Document};
use crate::register::{Register, Value};

/// After so many rounds without a change, a thing that is not there is no longer asked for.
const ABSENT_ROUNDS: u64 = 3;

/// Something that the registry keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A tag of a repository; its value is the digest that it names.
    Tag(&'static str, String),
    /// A manifest in a repository by its digest, which is also its value while it is there.
    Manifest(&'static str, String),
    /// A blob in a repository that no manifest names.
    Blob(&'static str, String),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(repository, tag) => write!(f, "{repository}:{tag}"),
            Self::Manifest(repository, digest) => write!(f, "manifest {repository}@{digest}"),
            Self::Blob(repository, digest) => write!(f, "blob {repository}@{digest}"),
        }
    }
}

/// Writes that one request asks for. Unless it is acknowledged or refused, they stay possible.
#[must_use]
pub(crate) struct Ticket {
    id: u64,
    keys: Vec<Key>,
}

/// An upload that was begun and not yet ended.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) location: String,
    pub(crate) repository: &'static str,
    /// What was to be uploaded.
    pub(crate) blob: Blob,
    pub(crate) round: u64,
}

/// The book; workers write in it at once.
#[derive(Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    now: u64,
    round: u64,
    registers: BTreeMap<Key, Entry>,
    documents: BTreeMap<String, Arc<Document>>,
    uploads: Vec<Upload>,
    acknowledged: u64,
    faults: Vec<String>,
}

struct Entry {
    register: Register,
    /// The last round in which it was written to.
    round: u64,
}

impl Book {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn entry(&mut self, key: &Key) -> &mut Register {
        let round = self.round;
        let new = || Entry { register: Register::new(None), round };
        let entry = self.registers.entry(key.clone()).or_insert_with(new);
        entry.round = round;
        &mut entry.register
    }

    fn tags_of(&self, repository: &str, digest: &Value) -> Vec<Key> {
        let named = self.registers.iter().filter(|(key, entry)| {
            matches!(key, Key::Tag(found, _) if *found == repository) && entry.register.may_be(digest)
        });
        named.map(|(key, _)| key.clone()).collect()
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to ask for these values.
    pub(crate) fn begin(&self, writes: Vec<(Key, Value)>) -> Ticket {
        let mut book = self.book();
        let id = book.tick();
        let mut keys = Vec::with_capacity(writes.len());
        for (key, value) in writes {
            book.entry(&key).begin(id, value);
            keys.push(key);
        }
        Ticket { id, keys }
    }

    /// The request was answered with success.
    pub(crate) fn acknowledge(&self, ticket: Ticket) {
        let mut book = self.book();
        let now = book.tick();
        book.acknowledged += 1;
        for key in &ticket.keys {
            book.entry(key).acknowledge(ticket.id, now);
        }
    }

    /// A manifest was deleted: the tags that named it have gone with it, whenever that was.
    pub(crate) fn acknowledge_removal(&self, ticket: Ticket, repository: &'static str, digest: &str) {
        self.acknowledge(ticket);
        let mut book = self.book();
        let now = book.tick();
        for key in book.tags_of(repository, &Some(digest.to_owned())) {
            book.entry(&key).may_also_be(None, now);
        }
    }

    /// The request was answered with a refusal.
    pub(crate) fn refuse(&self, ticket: Ticket) {
        let mut book = self.book();
        for key in &ticket.keys {
            book.entry(key).refuse(ticket.id);
        }
    }

    /// Remembers a document, so that its bytes and blobs can be asked for by its digest.
    pub(crate) fn remember(&self, document: Document) -> Arc<Document> {
        let document = Arc::new(document);
        self.book().documents.entry(document.digest.clone()).or_insert(document).clone()
    }

    /// The document of that digest, if it was ever to be pushed.
    pub(crate) fn document(&self, digest: &str) -> Option<Arc<Document>> {
        self.book().documents.get(digest).cloned()
    }

    /// Any document, pushed or deleted.
    pub(crate) fn any_document(&self, dice: &mut Dice) -> Option<Arc<Document>> {
        let book = self.book();
        let nth = dice.below(book.documents.len() as u64) as usize;
        book.documents.values().nth(nth).cloned()
    }

    /// Any key of which `wanted` is true and that may have a value, with one of its values.
    pub(crate) fn any(&self, dice: &mut Dice, wanted: impl Fn(&Key) -> bool) -> Option<(Key, String)> {
        let book = self.book();
        let present = book.registers.iter().filter(|(key, _)| wanted(key)).filter_map(|(key, entry)| {
            let value = entry.register.values().flatten().last()?;
            Some((key, value))
        });
        let present: Vec<(&Key, &String)> = present.collect();
        dice.pick(&present).map(|(key, value)| ((*key).clone(), (*value).clone()))
    }

    /// Manifests that may be there.
    pub(crate) fn manifests(&self) -> usize {
        let book = self.book();
        let is_manifest = |key: &Key| matches!(key, Key::Manifest(..));
        let present = |entry: &Entry| entry.register.certain() != Some(&None);
        book.registers.iter().filter(|(key, entry)| is_manifest(key) && present(entry)).count()
    }

    /// A stamp that stays the same for as long as the tag or manifest is surely there; `None` where it is not sure.
    pub(crate) fn surely_there(&self, key: &Key) -> Option<(String, u64)> {
        let book = self.book();
        let register = &book.registers.get(key)?.register;
        let digest = register.certain()?.clone()?;
        let begun = match key {
            // A tag also goes when its manifest is deleted.
            Key::Tag(repository, _) => {
                let manifest = book.registers.get(&Key::Manifest(repository, digest.clone()))?;
                manifest.register.certain()?.as_ref()?;
                register.begun + manifest.register.begun
            }
            Key::Manifest(..) | Key::Blob(..) => register.begun,
        };
        Some((digest, begun))
    }

    /// Every key that was ever written to, in order.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.book().registers.keys().cloned().collect()
    }

    /// Whether the key may hold this value.
    pub(crate) fn may_be(&self, key: &Key, value: &Value) -> bool {
        self.book().registers.get(key).map_or(value.is_none(), |entry| entry.register.may_be(value))
    }

    /// Whether the tag may be gone because a manifest that it may name was to be deleted when the server died.
    pub(crate) fn may_be_untagged(&self, repository: &'static str, tag: &Key) -> bool {
        let book = self.book();
        let Some(entry) = book.registers.get(tag) else { return true };
        entry.register.values().flatten().any(|digest| {
            let manifest = book.registers.get(&Key::Manifest(repository, digest.clone()));
            manifest.is_none_or(|entry| entry.register.may_be(&None))
        })
    }

    /// What the key may hold, for messages.
    pub(crate) fn describe(&self, key: &Key) -> String {
        let book = self.book();
        let values = book.registers.get(key).map(|entry| {
            let values = entry.register.values().map(|value| value.as_deref().unwrap_or("absent"));
            values.collect::<Vec<_>>().join(" or ")
        });
        values.unwrap_or_else(|| "absent".into())
    }

    /// The value was seen after the restart, and is certain now.
    pub(crate) fn settle(&self, key: &Key, value: Value) {
        if let Some(entry) = self.book().registers.get_mut(key) {
            entry.register.settle(value);
        }
    }

    /// Starts a round, and forgets what has long been gone.
    pub(crate) fn start_round(&self, round: u64) {
        let mut book = self.book();
        book.round = round;
        book.registers.retain(|_, entry| {
            entry.register.certain() != Some(&None) || entry.round + ABSENT_ROUNDS >= round
        });
        let Book { registers, documents, .. } = &mut *book;
        let named = |digest: &String| {
            registers.keys().any(|key| matches!(key, Key::Manifest(_, found) if found == digest))
        };
        documents.retain(|digest, _| named(digest));
    }

    /// An upload was begun.
    pub(crate) fn open_upload(&self, location: &str, repository: &'static str, blob: &Blob) {
        let mut book = self.book();
        let (location, blob, round) = (location.to_owned(), blob.clone(), book.round);
        book.uploads.push(Upload { location, repository, blob, round });
    }

    /// An upload goes on at another place.
    pub(crate) fn move_upload(&self, from: &str, to: &str) {
        let mut book = self.book();
        for upload in book.uploads.iter_mut().filter(|upload| upload.location == from) {
            upload.location = to.to_owned();
        }
    }

    /// An upload is over.
    pub(crate) fn close_upload(&self, location: &str) {
        self.book().uploads.retain(|upload| upload.location != location);
    }

    /// The uploads that nobody ended.
    pub(crate) fn uploads(&self) -> Vec<Upload> {
        self.book().uploads.clone()
    }

    /// How many requests were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.book().acknowledged
    }

    /// Notes that the registry broke its word.
    pub(crate) fn fault(&self, fault: String) {
        self.book().faults.push(fault);
    }

    /// What was noted so far, which is then forgotten.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.book().faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "r";

    fn manifest(digest: &str) -> Key {
        Key::Manifest(REPOSITORY, digest.into())
    }

    fn tag() -> Key {
        Key::Tag(REPOSITORY, "t".into())
    }

    fn value(digest: &str) -> Value {
        Some(digest.into())
    }

    fn pushed(digest: &str) -> Ledger {
        let ledger = Ledger::default();
        let ticket = ledger.begin(vec![(manifest(digest), value(digest)), (tag(), value(digest))]);
        ledger.acknowledge(ticket);
        ledger
    }

    #[test]
    fn an_acknowledged_push_is_sure() {
        let ledger = pushed("d");
        assert!(ledger.surely_there(&tag()).is_some());
        assert!(!ledger.may_be(&tag(), &None) && !ledger.may_be(&manifest("d"), &None));
        assert!(!ledger.may_be_untagged(REPOSITORY, &tag()));
    }

    #[test]
    fn a_tag_may_go_with_its_manifest_and_only_with_it() {
        let ledger = pushed("d");
        let before = ledger.surely_there(&tag());
        let ticket = ledger.begin(vec![(manifest("d"), None)]);
        assert!(ledger.surely_there(&tag()).is_none() && ledger.may_be_untagged(REPOSITORY, &tag()));
        ledger.refuse(ticket);
        assert_ne!(ledger.surely_there(&tag()), before, "a reader must notice what came in between");
        let ticket = ledger.begin(vec![(manifest("d"), None)]);
        ledger.acknowledge_removal(ticket, REPOSITORY, "d");
        assert!(ledger.may_be(&tag(), &None) && !ledger.may_be(&manifest("d"), &value("d")));

        let ledger = pushed("d");
        let ticket = ledger.begin(vec![(manifest("other"), None)]);
        ledger.acknowledge_removal(ticket, REPOSITORY, "other");
        assert!(!ledger.may_be(&tag(), &None));
    }

    #[test]
    fn what_was_under_way_in_the_crash_is_open_until_it_is_seen() {
        let ledger = pushed("d");
        drop(ledger.begin(vec![(manifest("e"), value("e")), (tag(), value("e"))]));
        for digest in ["d", "e"] {
            assert!(ledger.may_be(&tag(), &value(digest)));
        }
        assert!(ledger.may_be(&manifest("e"), &None) && ledger.may_be(&manifest("e"), &value("e")));
        ledger.settle(&tag(), value("e"));
        assert!(!ledger.may_be(&tag(), &value("d")));
    }

    #[test]
    fn what_is_long_gone_is_forgotten() {
        let ledger = pushed("d");
        let ticket = ledger.begin(vec![(manifest("d"), None)]);
        ledger.acknowledge(ticket);
        ledger.start_round(ABSENT_ROUNDS);
        assert!(ledger.keys().contains(&manifest("d")));
        ledger.start_round(ABSENT_ROUNDS + 1);
        assert_eq!(ledger.keys(), [tag()]);
    }
}
