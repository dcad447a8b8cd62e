//! What is remembered of upstreams for a while: which manifest a tag names there, and what is not there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meta::Timestamp;
use oci::{Descriptor, Digest, Reference, RepoName, Tag};
use quick_cache::sync::Cache;

/// How many things are remembered, of each kind.
const REMEMBERED: usize = 20_000;

/// For how long it is believed that there is a project, or none: each pull without a prefix asks for it.
const PROJECTS_FOR: Duration = Duration::from_secs(2);

/// The most tags that are remembered to wait for one manifest.
const WAITING: usize = 16;

type TagKey = (RepoName, Tag);

/// A bounded memory.
pub(crate) struct Memory {
    /// When tags that are here were last found right.
    checked: Cache<TagKey, Timestamp>,
    /// What tags name whose manifest is not here.
    named: Cache<TagKey, (Descriptor, Instant)>,
    /// The tags that wait for a manifest, to be kept with it.
    waiting: Cache<(RepoName, Digest), Arc<[Tag]>>,
    /// What is not there.
    absent: Cache<(RepoName, Reference), Instant>,
    /// Which projects there are here.
    projects: Cache<String, (bool, Instant)>,
    /// When an upstream last failed to say what a tag names: it is not asked again at once.
    failed: Cache<TagKey, Instant>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            checked: Cache::new(REMEMBERED),
            named: Cache::new(REMEMBERED),
            waiting: Cache::new(REMEMBERED),
            absent: Cache::new(REMEMBERED),
            projects: Cache::new(REMEMBERED),
            failed: Cache::new(REMEMBERED),
        }
    }
}

fn key(repository: &RepoName, tag: &Tag) -> TagKey {
    (repository.clone(), tag.clone())
}

impl Memory {
    /// Whether there was such a project a moment ago.
    pub fn has_project(&self, name: &str) -> Option<bool> {
        let (has, at) = self.projects.get(name)?;
        (at.elapsed() < PROJECTS_FOR).then_some(has)
    }

    pub fn note_project(&self, name: &str, has: bool) {
        self.projects.insert(name.to_owned(), (has, Instant::now()));
    }

    pub fn forget_project(&self, name: &str) {
        self.projects.remove(name);
    }

    pub fn checked(&self, repository: &RepoName, tag: &Tag) -> Option<Timestamp> {
        self.checked.get(&key(repository, tag))
    }

    pub fn note_checked(&self, repository: &RepoName, tag: &Tag, at: Timestamp) {
        self.failed.remove(&key(repository, tag));
        self.checked.insert(key(repository, tag), at);
    }

    /// Whether its upstream could not say what a tag names so short a time ago.
    pub fn has_failed(&self, repository: &RepoName, tag: &Tag, within: Duration) -> bool {
        self.failed.get(&key(repository, tag)).is_some_and(|at| at.elapsed() < within)
    }

    pub fn note_failed(&self, repository: &RepoName, tag: &Tag) {
        self.failed.insert(key(repository, tag), Instant::now());
    }

    /// What a tag was found to name so short a time ago.
    pub fn named(&self, repository: &RepoName, tag: &Tag, within: Duration) -> Option<Descriptor> {
        let (descriptor, at) = self.named.get(&key(repository, tag))?;
        (at.elapsed() < within).then_some(descriptor)
    }

    /// Notes what a tag names at the upstream, to be kept when that manifest comes.
    pub fn note_named(&self, repository: &RepoName, tag: &Tag, descriptor: &Descriptor) {
        self.named.insert(key(repository, tag), (descriptor.clone(), Instant::now()));
        let place = (repository.clone(), descriptor.digest);
        let before = self.waiting.get(&place).unwrap_or_default();
        if !before.contains(tag) {
            let tags = before.iter().rev().take(WAITING - 1).rev().chain([tag]).cloned().collect();
            self.waiting.insert(place, tags);
        }
    }

    /// The tags that wait for a manifest, as far as they still name it.
    pub fn waiting(&self, repository: &RepoName, digest: Digest, within: Duration) -> Vec<Tag> {
        let tags = self.waiting.get(&(repository.clone(), digest)).unwrap_or_default();
        let named =
            |tag: &&Tag| self.named(repository, tag, within).is_some_and(|found| found.digest == digest);
        tags.iter().filter(named).cloned().collect()
    }

    /// Forgets them: they are kept.
    pub fn settled(&self, repository: &RepoName, digest: Digest) {
        self.waiting.remove(&(repository.clone(), digest));
    }

    /// Whether something was not there so short a time ago.
    pub fn is_absent(&self, repository: &RepoName, reference: &Reference, within: Duration) -> bool {
        let key = (repository.clone(), reference.clone());
        self.absent.get(&key).is_some_and(|at| at.elapsed() < within)
    }

    pub fn note_absent(&self, repository: &RepoName, reference: &Reference) {
        self.absent.insert((repository.clone(), reference.clone()), Instant::now());
    }

    pub fn note_present(&self, repository: &RepoName, reference: &Reference) {
        self.absent.remove(&(repository.clone(), reference.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn tags_wait_for_the_manifest_that_they_name_last() {
        let memory = Memory::default();
        let repository: RepoName = "hub/a".parse().unwrap();
        let tag = |text: &str| text.parse::<Tag>().unwrap();
        let manifest = |text: &str| {
            Descriptor::new(oci::types::OCI_MANIFEST.parse().unwrap(), Digest::sha256(text.as_bytes()), 7)
        };
        let (old, new) = (manifest("old"), manifest("new"));
        for (name, what) in [("a", &old), ("b", &old), ("a", &new)] {
            memory.note_named(&repository, &tag(name), what);
        }
        let waiting = |digest| memory.waiting(&repository, digest, LONG);
        assert_eq!(waiting(old.digest), [tag("b")]);
        assert_eq!(waiting(new.digest), [tag("a")]);
        assert!(memory.waiting(&repository, new.digest, Duration::ZERO).is_empty(), "not for ever");
        memory.settled(&repository, new.digest);
        assert!(waiting(new.digest).is_empty());
        for number in 0..40 {
            memory.note_named(&repository, &tag(&format!("t{number}")), &old);
        }
        assert_eq!(waiting(old.digest).len(), WAITING);
        assert!(waiting(old.digest).contains(&tag("t39")));
    }

    #[test]
    fn what_is_absent_is_so_for_a_while() {
        let memory = Memory::default();
        let (repository, tag): (RepoName, Reference) = ("hub/a".parse().unwrap(), "v1".parse().unwrap());
        assert!(!memory.is_absent(&repository, &tag, LONG));
        memory.note_absent(&repository, &tag);
        assert!(memory.is_absent(&repository, &tag, LONG));
        assert!(!memory.is_absent(&repository, &tag, Duration::ZERO));
        memory.note_present(&repository, &tag);
        assert!(!memory.is_absent(&repository, &tag, LONG));
    }
}
