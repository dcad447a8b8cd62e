//! Signed addresses of blobs: whoever has one may read that blob from that repository, until it expires.
//!
//! ```text
//! /edge/v1/sha256/<hex>?key=<id>&repository=<name>&signature=<hex>&until=<seconds since 1970>
//! ```
//!
//! Pure, and tested without a server: time is told. An address has one spelling. A cache in front keys on all of it, so
//! whoever has one could else make it keep the same bytes under any number of names.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use oci::{Digest, RepoName};
use sha2::{Digest as _, Sha256};

/// What all signed addresses begin with.
pub(crate) const ROOT: &str = "/edge/v1/";

/// A secret that signs addresses, and by which they are known again.
#[derive(Clone)]
pub struct UrlKey {
    /// What addresses call it: it tells nothing of the key.
    id: String,
    mac: Hmac<Sha256>,
}

impl UrlKey {
    /// The key with these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        // HMAC itself fills a key up with zeros to the length of a block.
        let mut block = [0; 64];
        block[..32].copy_from_slice(bytes);
        Self { id: hex::encode(&Sha256::digest(bytes)[..4]), mac: Hmac::new(&block.into()) }
    }

    /// What addresses call it: the first eight digits of its SHA-256.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Nothing that it is fed with has a line break, so no two addresses feed it with the same.
    fn over(&self, digest: &Digest, repository: &RepoName, until: u64) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(format!("wharf edge v1\n{digest}\n{repository}\n{until}").as_bytes());
        mac
    }
}

impl fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlKey({}, ..)", self.id)
    }
}

/// The keys of a server: the first signs, by each an address is known again.
#[derive(Clone, Debug)]
pub struct UrlKeys(Vec<UrlKey>);

impl UrlKeys {
    /// These keys; nothing where there is none, or addresses would call two of them the same.
    pub fn new(keys: Vec<UrlKey>) -> Option<Self> {
        let is_double = |(at, key): (usize, &UrlKey)| keys[..at].iter().any(|other| other.id == key.id);
        let is_good = !keys.is_empty() && !keys.iter().enumerate().any(is_double);
        is_good.then_some(Self(keys))
    }

    /// What addresses call them, the one that signs first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(UrlKey::id)
    }

    /// The address of a blob, from the slash on.
    pub fn sign(&self, digest: &Digest, repository: &RepoName, until: u64) -> String {
        let key = &self.0[0];
        let signature = hex::encode(key.over(digest, repository, until).finalize().into_bytes());
        render(digest, &key.id, repository, &signature, until)
    }

    /// Whether an address was signed with one of the keys, and is good at a time.
    pub(crate) fn verify(&self, url: &SignedUrl, now: u64) -> Result<(), BadUrl> {
        let key = self.0.iter().find(|key| key.id == url.key).ok_or(BadUrl::Key)?;
        let mac = key.over(&url.digest, &url.repository, url.until);
        // In a time that does not tell how much of it is right.
        mac.verify_slice(&url.signature).map_err(|_| BadUrl::Signature)?;
        if url.until <= now { Err(BadUrl::Expired) } else { Ok(()) }
    }
}

fn render(digest: &Digest, key: &str, repository: &RepoName, signature: &str, until: u64) -> String {
    let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
    // In alphabetical order: some caches sort.
    format!("{ROOT}{algorithm}/{hex}?key={key}&repository={repository}&signature={signature}&until={until}")
}

/// The digest that the path of an address names.
pub(crate) fn digest_of(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix(ROOT)?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// An address that has the form of a signed one. Whether it was signed is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedUrl {
    pub(crate) digest: Digest,
    pub(crate) repository: RepoName,
    pub(crate) until: u64,
    key: String,
    signature: Vec<u8>,
}

impl SignedUrl {
    /// Reads an address, which must be written exactly as it was given out.
    pub(crate) fn parse(path: &str, query: &str) -> Option<Self> {
        let digest = digest_of(path)?;
        let (key, rest) = query.strip_prefix("key=")?.split_once("&repository=")?;
        let (repository, rest) = rest.split_once("&signature=")?;
        let (signature, until) = rest.split_once("&until=")?;
        let repository = repository.parse().ok()?;
        let until = until.parse().ok()?;
        let is_spelled = render(&digest, key, &repository, &signature.to_ascii_lowercase(), until)
            .strip_prefix(path)
            .is_some_and(|rest| rest.strip_prefix('?') == Some(query));
        let signature = hex::decode(signature).ok().filter(|_| is_spelled)?;
        Some(Self { digest, repository, until, key: key.to_owned(), signature })
    }
}

/// Why nothing is given out for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadUrl {
    /// It is written in another way than any that was signed.
    Form,
    /// It names a key that is not known here.
    Key,
    /// It is not what was signed.
    Signature,
    /// It was good.
    Expired,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => {
                "the address is not written as one that a registry signs: use the one that it redirects to, as it is"
            }
            Self::Key => {
                "the address was signed with a key that is not known here: whoever runs this server must add it to \
                 `edge.key_file`"
            }
            Self::Signature => {
                "the signature of the address does not fit: it was changed, or not made by the registry; pull again \
                 from there"
            }
            Self::Expired => "the address has expired: pull again from the registry, which gives out a new one",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(bytes: &[u8]) -> UrlKeys {
        UrlKeys::new(bytes.iter().map(|byte| UrlKey::new(&[*byte; 32])).collect()).unwrap()
    }

    fn open(keys: &UrlKeys, url: &str, now: u64) -> Result<SignedUrl, BadUrl> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let url = SignedUrl::parse(path, query).ok_or(BadUrl::Form)?;
        keys.verify(&url, now).map(|()| url)
    }

    fn signed() -> String {
        keys(&[1]).sign(&Digest::sha256(b"a blob"), &"team/app".parse().unwrap(), 1_000)
    }

    #[test]
    fn what_was_signed_is_known_again_until_it_expires() {
        let check = |now: u64, expect: Result<(), BadUrl>| {
            let opened = open(&keys(&[1]), &signed(), now).map(|url| {
                assert_eq!(
                    (url.digest, url.repository.as_str(), url.until),
                    (Digest::sha256(b"a blob"), "team/app", 1_000)
                );
            });
            assert_eq!(opened, expect, "at {now}");
        };
        check(0, Ok(()));
        check(999, Ok(()));
        check(1_000, Err(BadUrl::Expired));
        check(u64::MAX, Err(BadUrl::Expired));
    }

    #[test]
    fn the_form_of_an_address_stays_what_it_is() {
        // Nodes of different ages must understand each other.
        assert_eq!(
            signed(),
            "/edge/v1/sha256/5570a3cf02207f1d352d2cfea385be4bc0b2b9414f606baa6f55db60b232f221?key=72cd6e84\
             &repository=team/app&signature=a0882ddd08a868405819075f3a9827d4b13970085e69117f4c6b66ec7de82ef0\
             &until=1000"
        );
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let url = signed();
        let other = Digest::sha256(b"another").hex();
        let (_, signature) = url.split_once("signature=").unwrap();
        let signature = &signature[..64];
        let check = |from: &str, to: &str, expect: BadUrl| {
            let changed = url.replacen(from, to, 1);
            assert_ne!(changed, url, "{from}");
            assert_eq!(open(&keys(&[1, 2]), &changed, 0), Err(expect), "{changed}");
        };
        check(&Digest::sha256(b"a blob").hex(), &other, BadUrl::Signature);
        check("team/app", "team/other", BadUrl::Signature);
        check("until=1000", "until=2000", BadUrl::Signature);
        check(&signature[..4], "0000", BadUrl::Signature);
        check(signature, &signature[2..], BadUrl::Signature);
        check(signature, "", BadUrl::Signature);
        check(UrlKey::new(&[1; 32]).id(), UrlKey::new(&[2; 32]).id(), BadUrl::Signature);
        check(UrlKey::new(&[1; 32]).id(), UrlKey::new(&[3; 32]).id(), BadUrl::Key);
        check(UrlKey::new(&[1; 32]).id(), "", BadUrl::Key);
    }

    #[test]
    fn there_is_one_spelling() {
        let url = signed();
        let check = |from: &str, to: &str| {
            let changed = url.replacen(from, to, 1);
            assert_ne!(changed, url, "{from}");
            assert_eq!(open(&keys(&[1]), &changed, 0), Err(BadUrl::Form), "{changed}");
        };
        check("until=1000", "until=1000&x=1");
        check("until=1000", "until=01000");
        check("until=1000", "until=+1000");
        check("until=1000", "until=1000&");
        check("?key", "?&key");
        check("team/app", "team%2Fapp");
        check("sha256/", "sha256//");
        check("sha256/", "SHA256/");
        check("/edge/v1", "/edge/v2");
        check("&repository=team/app", "");
        let (start, signature) = url.split_once("signature=").unwrap();
        let loud = format!("{start}signature={}{}", signature[..64].to_uppercase(), &signature[64..]);
        assert_eq!(open(&keys(&[1]), &loud, 0), Err(BadUrl::Form), "{loud}");
        let (path, query) = url.split_once('?').unwrap();
        let (key, rest) = query.split_once('&').unwrap();
        assert_eq!(open(&keys(&[1]), &format!("{path}?{rest}&{key}"), 0), Err(BadUrl::Form));
    }

    #[test]
    fn a_key_is_replaced_without_a_gap() {
        let url = signed();
        let check = |known: &[u8], expect: Result<(), BadUrl>| {
            assert_eq!(open(&keys(known), &url, 0).map(|_| ()), expect, "{known:?}");
        };
        check(&[1, 2], Ok(()));
        check(&[2, 1], Ok(()));
        check(&[2], Err(BadUrl::Key));
        let new = keys(&[2, 1]).sign(&Digest::sha256(b"a blob"), &"team/app".parse().unwrap(), 1_000);
        assert!(open(&keys(&[1, 2]), &new, 0).is_ok() && new != url);
    }

    #[test]
    fn keys_are_told_apart_and_never_shown() {
        assert!(UrlKeys::new(Vec::new()).is_none());
        assert!(UrlKeys::new(vec![UrlKey::new(&[1; 32]), UrlKey::new(&[1; 32])]).is_none());
        let shown = format!("{:?}", keys(&[1, 2]));
        assert!(!shown.contains("01, 01") && !shown.contains("1, 1"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_address_panics(
            path in "(/edge/v1/)?(sha256|sha512|md5)?/?[0-9a-fA-F]{0,70}",
            query in "(key=)?[0-9a-f]{0,8}(&repository=)?[a-z/%]{0,9}(&signature=)?[0-9a-zA-Z]{0,66}(&until=)?[0-9+]{0,25}",
            other: String,
        ) {
            for (path, query) in [(&path, &query), (&path, &other), (&other, &query)] {
                if let Some(url) = SignedUrl::parse(path, query) {
                    prop_assert!(keys(&[1]).verify(&url, 0).is_err());
                }
            }
        }

        #[test]
        fn any_changed_byte_is_noticed(at: prop::sample::Index, byte in b' '..=b'~') {
            let mut url = signed().into_bytes();
            let at = at.index(url.len());
            prop_assume!(url[at] != byte);
            url[at] = byte;
            prop_assert!(open(&keys(&[1]), &String::from_utf8(url).unwrap(), 0).is_err());
        }
    }
}
