//! One client among several: it pushes, tags, deletes and pulls at random, and writes in the ledger what it was told.

use std::sync::Arc;

use power_cut::Dice;

use crate::content::{Blob, Document};
use crate::http::{Answer, Http};
use crate::ledger::Key;
use crate::site::{ACCEPT, REPOSITORIES, Site, Stop, TAGS};

/// A push that finds its blobs collected starts again so many times.
const PUSH_ATTEMPTS: u32 = 4;
/// With more manifests than this the workers delete more than they push.
const MANY: usize = 80;

type Outcome<T = ()> = Result<T, Stop>;

/// A client that acts at random.
pub struct Worker<'a> {
    site: &'a Site,
    http: Http,
    dice: Dice,
}

impl<'a> Worker<'a> {
    /// A client that equal seeds make act alike, as far as the server answers alike.
    pub fn new(site: &'a Site, seed: u64) -> Self {
        Self { site, http: Http::new(site.address), dice: Dice::new(seed) }
    }

    /// Acts until the server ends or fails.
    pub fn run(mut self) {
        while self.act().is_ok() {}
    }

    /// Does one thing.
    pub fn act(&mut self) -> Outcome {
        let many = self.site.ledger.manifests() > MANY;
        // Of a hundred acts: pushes, pushes of what was there before, manifests deleted; the rest is always alike.
        let (push, again, delete) = if many { (10, 5, 35) } else { (38, 8, 4) };
        let roll = self.dice.below(100);
        let (again, delete) = (push + again, push + again + delete);
        match roll {
            n if n < push => self.push_something(),
            n if n < again => self.push_again(),
            n if n < delete => self.delete_manifest(),
            50..=79 => self.pull(),
            80..=86 => self.loose_blob(),
            87..=92 => self.abandon_upload(),
            _ => self.delete_tag(),
        }
    }

    fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<Answer> {
        self.site.call(&mut self.http, method, path, headers, body)
    }

    /// A refusal that no rule of the protocol explains ends the worker.
    fn unexpected<T>(&self, what: &str, answer: &Answer) -> Outcome<T> {
        self.site.fault(format!("{what}: {} {}", answer.status, answer.text()));
        Err(Stop)
    }

    fn repository(&mut self) -> &'static str {
        REPOSITORIES[self.dice.below(REPOSITORIES.len() as u64) as usize]
    }

    fn tag(&mut self) -> Option<String> {
        let tagged = self.dice.chance(75);
        tagged.then(|| format!("tag-{}", self.dice.below(TAGS)))
    }

    fn push_something(&mut self) -> Outcome {
        let (repository, tag) = (self.repository(), self.tag());
        let document = match self.dice.below(10) {
            0 => self.new_index(repository),
            1 => self.new_artifact(repository),
            _ => None,
        };
        let document = document.unwrap_or_else(|| self.new_image());
        let document = self.site.ledger.remember(document);
        self.push(repository, tag, &document).map(drop)
    }

    /// Pushes an image that was not there before, and says whether the registry took it.
    pub fn push_image(&mut self) -> Outcome<bool> {
        let repository = self.repository();
        let document = self.new_image();
        let document = self.site.ledger.remember(document);
        let tag = self.tag();
        self.push(repository, tag, &document)
    }

    fn new_image(&mut self) -> Document {
        let config = Blob::any(&mut self.dice);
        Document::image(config, self.layers())
    }

    fn layers(&mut self) -> Vec<Blob> {
        let count = self.dice.below(4);
        let mut layers = Vec::new();
        for _ in 0..count {
            let shared = self.dice.pick(&self.site.shared).filter(|_| count > 1).cloned();
            layers.push(shared.unwrap_or_else(|| Blob::any(&mut self.dice)));
        }
        layers
    }

    fn present(&mut self, repository: &'static str) -> Option<Arc<Document>> {
        let here = |key: &Key| matches!(key, Key::Manifest(found, _) if *found == repository);
        let (_, digest) = self.site.ledger.any(&mut self.dice, here)?;
        self.site.ledger.document(&digest)
    }

    fn new_artifact(&mut self, repository: &'static str) -> Option<Document> {
        let subject = self.present(repository)?;
        let config = Blob::any(&mut self.dice);
        Some(Document::artifact(config, self.layers(), &subject))
    }

    fn new_index(&mut self, repository: &'static str) -> Option<Document> {
        let (one, other) = (self.present(repository)?, self.present(repository)?);
        Some(Document::index(&[&one, &other], self.dice.roll()))
    }

    fn push_again(&mut self) -> Outcome {
        let Some(document) = self.site.ledger.any_document(&mut self.dice) else { return Ok(()) };
        let (repository, tag) = (self.repository(), self.tag());
        self.push(repository, tag, &document).map(drop)
    }

    /// Pushes blobs and manifest; false where garbage collection took a blob every time.
    fn push(&mut self, repository: &'static str, tag: Option<String>, document: &Document) -> Outcome<bool> {
        for _ in 0..PUSH_ATTEMPTS {
            for blob in &document.blobs {
                self.push_blob(repository, blob)?;
            }
            if self.put_manifest(repository, tag.as_deref(), document)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn put_manifest(
        &mut self,
        repository: &'static str,
        tag: Option<&str>,
        document: &Document,
    ) -> Outcome<bool> {
        let digest = &document.digest;
        let mut writes = vec![(Key::Manifest(repository, digest.clone()), Some(digest.clone()))];
        writes.extend(tag.map(|tag| (Key::Tag(repository, tag.to_owned()), Some(digest.clone()))));
        let path = format!("/v2/{repository}/manifests/{}", tag.unwrap_or(digest));
        let ticket = self.site.ledger.begin(writes);
        let answer = self.call("PUT", &path, &[("content-type", document.media_type)], &document.bytes)?;
        if answer.ok() {
            self.site.ledger.acknowledge(ticket);
            return Ok(true);
        }
        self.site.ledger.refuse(ticket);
        if answer.text().contains("_UNKNOWN") {
            return Ok(false);
        }
        self.unexpected(&format!("PUT {path}"), &answer)
    }

    /// Sees to it that a blob is there, in one of the ways that the protocol has.
    fn push_blob(&mut self, repository: &'static str, blob: &Blob) -> Outcome {
        let way = self.dice.below(10);
        if way < 3 {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            if self.call("HEAD", &path, &[], b"")?.ok() {
                return Ok(());
            }
        }
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let (start, body) = match way {
            0..2 => (format!("{uploads}?mount={}&from={}", blob.digest, self.repository()), Vec::new()),
            2 => (format!("{uploads}?mount={}", blob.digest), Vec::new()),
            3..5 => (format!("{uploads}?digest={}", blob.digest), blob.bytes()),
            _ => (uploads, Vec::new()),
        };
        let answer = self.call("POST", &start, &[], &body)?;
        match (answer.status, answer.location()) {
            (201, _) => Ok(()),
            // Also where a mount or a push at once was asked for, the registry may begin an upload instead.
            (202, Some(location)) => {
                self.site.ledger.open_upload(location, repository, blob);
                let chunks = if self.dice.chance(50) { self.dice.below(4) } else { 0 };
                self.upload(location.to_owned(), blob, chunks, true)
            }
            _ => self.unexpected(&format!("POST {start}"), &answer),
        }
    }

    /// Sends so many chunks by PATCH; with `finish` the rest by PUT.
    fn upload(&mut self, mut location: String, blob: &Blob, chunks: u64, finish: bool) -> Outcome {
        let bytes = blob.bytes();
        let mut sent = 0;
        for _ in 0..chunks {
            let len = self.dice.below((bytes.len() - sent) as u64) as usize;
            if len == 0 {
                continue;
            }
            let range = format!("{sent}-{}", sent + len - 1);
            let answer =
                self.call("PATCH", &location, &[("content-range", &range)], &bytes[sent..sent + len])?;
            sent += len;
            match (answer.status, answer.location()) {
                (202, Some(next)) => {
                    self.site.ledger.move_upload(&location, next);
                    next.clone_into(&mut location);
                }
                (404, _) => return self.expired(&location),
                _ => return self.unexpected(&format!("PATCH {location} {range}"), &answer),
            }
        }
        if !finish {
            return Ok(());
        }
        let path = with_digest(&location, &blob.digest);
        let answer = self.call("PUT", &path, &[], &bytes[sent..])?;
        match answer.status {
            201 => {
                self.site.ledger.close_upload(&location);
                Ok(())
            }
            404 => self.expired(&location),
            _ => self.unexpected(&format!("PUT {path} from {sent}"), &answer),
        }
    }

    /// Uploads expire soon in these runs, so a slow worker may find its own gone: the manifest will tell.
    fn expired(&mut self, location: &str) -> Outcome {
        self.site.ledger.close_upload(location);
        Ok(())
    }

    fn abandon_upload(&mut self) -> Outcome {
        let repository = self.repository();
        let path = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.call("POST", &path, &[], b"")?;
        let Some(location) = answer.location().filter(|_| answer.status == 202) else {
            return self.unexpected(&format!("POST {path}"), &answer);
        };
        let blob = Blob::any(&mut self.dice);
        self.site.ledger.open_upload(location, repository, &blob);
        let chunks = self.dice.below(3);
        if self.dice.chance(80) {
            return self.upload(location.to_owned(), &blob, chunks, false);
        }
        let answer = self.call("DELETE", location, &[], b"")?;
        match answer.status {
            204 | 404 => self.expired(location),
            // Not every registry lets its uploads be cancelled.
            405 => Ok(()),
            _ => self.unexpected(&format!("DELETE {location}"), &answer),
        }
    }

    /// Pushes a blob that no manifest names, and most often deletes it.
    fn loose_blob(&mut self) -> Outcome {
        let repository = self.repository();
        let blob = Blob::any(&mut self.dice);
        let key = || Key::Blob(repository, blob.digest.clone());
        let ticket = self.site.ledger.begin(vec![(key(), Some(blob.digest.clone()))]);
        self.push_blob(repository, &blob)?;
        self.site.ledger.acknowledge(ticket);
        if self.dice.chance(20) {
            return Ok(());
        }
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        self.delete(&path, vec![(key(), None)]).map(drop)
    }

    fn delete_tag(&mut self) -> Outcome {
        let Some((Key::Tag(repository, tag), _)) =
            self.site.ledger.any(&mut self.dice, |key| matches!(key, Key::Tag(..)))
        else {
            return Ok(());
        };
        let path = format!("/v2/{repository}/manifests/{tag}");
        self.delete(&path, vec![(Key::Tag(repository, tag), None)]).map(drop)
    }

    fn delete_manifest(&mut self) -> Outcome {
        let Some((Key::Manifest(repository, digest), _)) =
            self.site.ledger.any(&mut self.dice, |key| matches!(key, Key::Manifest(..)))
        else {
            return Ok(());
        };
        let path = format!("/v2/{repository}/manifests/{digest}");
        let ticket = self.site.ledger.begin(vec![(Key::Manifest(repository, digest.clone()), None)]);
        let answer = self.call("DELETE", &path, &[], b"")?;
        match answer.status {
            202 => self.site.ledger.acknowledge_removal(ticket, repository, &digest),
            404 => self.site.ledger.refuse(ticket),
            _ => return self.unexpected(&format!("DELETE {path}"), &answer),
        }
        Ok(())
    }

    fn delete(&mut self, path: &str, writes: Vec<(Key, Option<String>)>) -> Outcome {
        let ticket = self.site.ledger.begin(writes);
        let answer = self.call("DELETE", path, &[], b"")?;
        match answer.status {
            202 => self.site.ledger.acknowledge(ticket),
            404 => self.site.ledger.refuse(ticket),
            _ => return self.unexpected(&format!("DELETE {path}"), &answer),
        }
        Ok(())
    }

    /// Pulls an image by its tag, and all of it must verify unless somebody was changing it.
    fn pull(&mut self) -> Outcome {
        let Some((key, _)) = self.site.ledger.any(&mut self.dice, |key| matches!(key, Key::Tag(..))) else {
            return Ok(());
        };
        let Key::Tag(repository, tag) = &key else { return Ok(()) };
        let path = format!("/v2/{repository}/manifests/{tag}");
        let before = self.site.ledger.surely_there(&key);
        let answer = self.call("GET", &path, &[ACCEPT], b"")?;
        if !answer.ok() {
            let lost = before.is_some() && before == self.site.ledger.surely_there(&key);
            return if lost { self.unexpected(&format!("GET {path}"), &answer) } else { Ok(()) };
        }
        let digest = crate::digest(&answer.body);
        let Some(document) = self.site.ledger.document(&digest) else {
            return self.unexpected(&format!("GET {path} gave what nobody pushed"), &answer);
        };
        self.pull_blobs(repository, &document)
    }

    fn pull_blobs(&mut self, repository: &'static str, document: &Document) -> Outcome {
        let key = Key::Manifest(repository, document.digest.clone());
        let before = self.site.ledger.surely_there(&key);
        for blob in &document.blobs {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            let answer = self.call("GET", &path, &[], b"")?;
            if answer.ok() && crate::digest(&answer.body) != blob.digest {
                let text = format!("GET {path} gave {} other bytes", answer.body.len());
                self.site.fault(text);
                return Err(Stop);
            }
            if !answer.ok() && before.is_some() && before == self.site.ledger.surely_there(&key) {
                return self.unexpected(&format!("GET {path} of a manifest that is there"), &answer);
            }
        }
        Ok(())
    }
}

/// Adds the digest to an upload's location, which may have a query already.
pub(crate) fn with_digest(location: &str, digest: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}
