//! Compares a server that has just come back with the ledger.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use crate::content::{Blob, digest};
use crate::http::{Answer, Http};
use crate::ledger::{Key, Upload};
use crate::register::Value;
use crate::server::Server;
use crate::site::{ACCEPT, REPOSITORIES, Site, Stop};
use crate::worker::with_digest;

/// Longer than uploads live in these runs, the time for the server to look for them included.
const EXPIRED_AFTER: Duration = Duration::from_secs(4);
/// How often to ask, each time after a longer wait, so that only an upload that stays for ever is still there.
const EXPIRY_ATTEMPTS: u32 = 6;
/// So long a file of an upload may stay.
const EXPIRY_LIMIT: Duration = Duration::from_secs(60);

/// Asks for everything that was acknowledged or may have been done, notes faults, and makes the ledger certain.
pub fn verify(site: &Site) -> Result<(), Stop> {
    let mut inspector = Inspector { site, http: Http::new(site.address), whole: HashSet::new() };
    let keys = site.ledger.keys();
    // Tags first: whether one may be gone depends on manifests that may be gone, which are settled next.
    for key in &keys {
        if let Key::Tag(repository, tag) = key {
            inspector.tag(key, repository, tag)?;
        }
    }
    for key in &keys {
        if let Key::Manifest(repository, digest) = key {
            inspector.manifest(key, repository, digest)?;
        }
    }
    for key in &keys {
        if let Key::Blob(repository, digest) = key {
            inspector.loose_blob(key, repository, digest)?;
        }
    }
    for repository in REPOSITORIES {
        inspector.listed_tags(repository, &keys)?;
        inspector.referrers(repository, &keys)?;
    }
    inspector.resume_an_upload()
}

/// Waits until every upload that nobody ended is gone; one that stays is a fault.
pub(crate) fn verify_expiry(site: &Site, before_round: u64) -> Result<(), Stop> {
    let mut http = Http::new(site.address);
    for attempt in 0..EXPIRY_ATTEMPTS {
        let uploads = site.ledger.uploads();
        let old: Vec<&Upload> = uploads.iter().filter(|upload| upload.round < before_round).collect();
        if old.is_empty() {
            return Ok(());
        }
        // To ask for an upload may count as going on with it, so nobody asks before it must be gone.
        std::thread::sleep(EXPIRED_AFTER * attempt);
        for upload in old {
            if site.call(&mut http, "GET", &upload.location, &[], b"")?.status == 404 {
                site.ledger.close_upload(&upload.location);
            }
        }
    }
    for upload in site.ledger.uploads().iter().filter(|upload| upload.round < before_round) {
        site.fault(format!("upload {} of round {} stays", upload.location, upload.round));
    }
    Ok(())
}

/// Waits until no file of an upload is left, also of those whose begin was never acknowledged.
pub(crate) fn verify_upload_files(site: &Site, server: &Server) {
    let start = Instant::now();
    loop {
        let files = server.upload_files();
        if files.is_empty() {
            return;
        }
        if start.elapsed() > EXPIRY_LIMIT {
            return site.fault(format!(
                "{} files of abandoned uploads stay, such as {:?}",
                files.len(),
                files[0]
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Inspector<'a> {
    site: &'a Site,
    http: Http,
    /// Blobs that were pulled and found whole, by repository.
    whole: HashSet<(&'static str, String)>,
}

impl Inspector<'_> {
    fn get(&mut self, path: &str) -> Result<Answer, Stop> {
        self.site.call(&mut self.http, "GET", path, &[ACCEPT], b"")
    }

    /// Pulls a manifest; what is served must be what was pushed under that digest.
    fn pull(&mut self, repository: &str, reference: &str) -> Result<Value, Stop> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.get(&path)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let found = digest(&answer.body);
        if !answer.ok() || self.site.ledger.document(&found).is_none() {
            self.site.fault(format!("{path} serves what nobody pushed: {} {}", answer.status, answer.text()));
        }
        if answer.header("docker-content-digest").is_some_and(|said| said != found) {
            self.site.fault(format!("{path} says another digest than that of its bytes, {found}"));
        }
        Ok(Some(found))
    }

    fn tag(&mut self, key: &Key, repository: &'static str, tag: &str) -> Result<(), Stop> {
        let found = self.pull(repository, tag)?;
        let ledger = &self.site.ledger;
        let allowed =
            ledger.may_be(key, &found) || found.is_none() && ledger.may_be_untagged(repository, key);
        if !allowed {
            self.wrong(key, &found);
        }
        if let Some(digest) = &found
            && self.pull(repository, digest)?.is_none()
        {
            self.site.fault(format!("{key} names {digest}, which is not there"));
        }
        self.site.ledger.settle(key, found);
        Ok(())
    }

    fn manifest(&mut self, key: &Key, repository: &'static str, digest: &str) -> Result<(), Stop> {
        let found = self.pull(repository, digest)?;
        if !self.site.ledger.may_be(key, &found) {
            self.wrong(key, &found);
        }
        if found.is_some() {
            let blobs = self.site.ledger.document(digest).map(|document| document.blobs.clone());
            for blob in blobs.iter().flatten() {
                self.blob(key, repository, blob)?;
            }
        }
        self.site.ledger.settle(key, found);
        Ok(())
    }

    fn blob(&mut self, of: &Key, repository: &'static str, blob: &Blob) -> Result<(), Stop> {
        if !self.whole.insert((repository, blob.digest.clone())) {
            return Ok(());
        }
        let answer = self.get(&format!("/v2/{repository}/blobs/{}", blob.digest))?;
        if !answer.ok() {
            self.site.fault(format!("{of}: its blob {} is not there: {}", blob.digest, answer.text()));
        } else if digest(&answer.body) != blob.digest {
            let sizes = (answer.body.len(), blob.size);
            self.site.fault(format!(
                "{of}: its blob {} is damaged ({} of {} bytes)",
                blob.digest, sizes.0, sizes.1
            ));
        }
        Ok(())
    }

    /// A blob that no manifest names may be collected at any time, but must not come back once it was deleted.
    fn loose_blob(&mut self, key: &Key, repository: &str, digest: &str) -> Result<(), Stop> {
        let answer = self.get(&format!("/v2/{repository}/blobs/{digest}"))?;
        let found = answer.ok().then(|| crate::digest(&answer.body));
        if found.is_some() && !self.site.ledger.may_be(key, &found) {
            self.wrong(key, &found);
        }
        self.site.ledger.settle(key, found);
        Ok(())
    }

    fn wrong(&self, key: &Key, found: &Value) {
        let expected = self.site.ledger.describe(key);
        let found = found.as_deref().unwrap_or("absent");
        self.site.fault(format!("{key} is {found}, but should be {expected}"));
    }

    /// The list of tags must be exactly the tags that can be pulled.
    fn listed_tags(&mut self, repository: &'static str, keys: &[Key]) -> Result<(), Stop> {
        let answer = self.get(&format!("/v2/{repository}/tags/list"))?;
        let text = answer.text();
        let listed = text.split_once("\"tags\":[").and_then(|(_, rest)| rest.split_once(']'));
        let listed: BTreeSet<&str> =
            listed.map_or("", |(tags, _)| tags).split(',').map(|tag| tag.trim_matches('"')).collect();
        let present = keys.iter().filter_map(|key| match key {
            Key::Tag(found, tag) if *found == repository && !self.site.ledger.may_be(key, &None) => {
                Some(tag.as_str())
            }
            _ => None,
        });
        let present: BTreeSet<&str> = present.collect();
        let listed: BTreeSet<&str> = listed.into_iter().filter(|tag| !tag.is_empty()).collect();
        if answer.status != 404 && listed != present || answer.status == 404 && !present.is_empty() {
            self.site.fault(format!("{repository} lists the tags {listed:?}, but has {present:?}"));
        }
        Ok(())
    }

    /// Every manifest with a subject must be listed as its referrer exactly while it is there.
    fn referrers(&mut self, repository: &'static str, keys: &[Key]) -> Result<(), Stop> {
        for key in keys {
            let Key::Manifest(found, digest) = key else { continue };
            let document = self.site.ledger.document(digest).filter(|_| *found == repository);
            let Some((document, subject)) = document.as_ref().and_then(|it| Some((it, it.subject.as_ref()?)))
            else {
                continue;
            };
            let answer = self.get(&format!("/v2/{repository}/referrers/{subject}"))?;
            // A registry without this list answers 404 to every such question.
            let listed = answer.text().contains(&document.digest);
            let present = self.site.ledger.may_be(key, &Some(digest.clone()));
            if answer.status != 404 && listed != present {
                self.site.fault(format!("{key} is listed as referrer: {listed}, is there: {present}"));
            }
        }
        Ok(())
    }

    /// An upload that outlived the crash must go on where the server says that it stands.
    fn resume_an_upload(&mut self) -> Result<(), Stop> {
        let Some(upload) = self.site.ledger.uploads().pop() else { return Ok(()) };
        let answer = self.get(&upload.location)?;
        if answer.status == 404 {
            return Ok(());
        }
        let Some(held) = held(&answer).filter(|held| *held <= upload.blob.size) else {
            self.site.fault(format!("{}: {} {:?}", upload.location, answer.status, answer.headers));
            return Ok(());
        };
        let location = answer.location().unwrap_or(&upload.location);
        self.finish(&upload, location, held)
    }

    fn finish(&mut self, upload: &Upload, location: &str, held: usize) -> Result<(), Stop> {
        let path = with_digest(location, &upload.blob.digest);
        let rest = &upload.blob.bytes()[held..];
        let answer = self.site.call(&mut self.http, "PUT", &path, &[], rest)?;
        match answer.status {
            201 => {
                self.site.ledger.close_upload(&upload.location);
                let key = Key::Blob(upload.repository, upload.blob.digest.clone());
                self.site.ledger.settle(&key, Some(upload.blob.digest.clone()));
            }
            404 => self.site.ledger.close_upload(&upload.location),
            // What matters is that the damage was found, and that no blob came of it.
            400 if self.site.uploads_may_tear && answer.text().contains("DIGEST_INVALID") => {}
            _ => {
                let (size, text) = (upload.blob.size, answer.text());
                self.site.fault(format!("{path}, resumed at {held} of {size}: {} {text}", answer.status));
            }
        }
        Ok(())
    }
}

/// How many bytes the server says that it holds: `Range: 0-9` means ten, and none where it is missing. `0-0` is what
/// servers say of an empty upload too, so a single byte is not told from none.
fn held(answer: &Answer) -> Option<usize> {
    let Some(range) = answer.header("range") else { return answer.ok().then_some(0) };
    let last: usize = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}
