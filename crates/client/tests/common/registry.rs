//! The distribution API in memory, as far as a client needs it, with faults on request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use oci::{Digest, types};

use super::http::{Handler, Reply, Request};

/// Looks at a request before the registry does; what it answers is what the client gets.
type Hook = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

/// How much of an upload's body is taken before the connection breaks.
type Cut = Box<dyn Fn(&Request) -> Option<usize> + Send + Sync>;

#[derive(Default)]
pub struct Registry {
    state: Mutex<State>,
    hook: Option<Hook>,
    cut: Option<Cut>,
    referrers_api: bool,
    mounts: bool,
}

#[derive(Default)]
pub struct State {
    pub blobs: HashMap<Digest, Vec<u8>>,
    pub manifests: HashMap<Digest, (String, Vec<u8>)>,
    pub tags: HashMap<String, Digest>,
    pub uploads: HashMap<String, Vec<u8>>,
}

impl Registry {
    pub fn hook(mut self, hook: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    pub fn cut(mut self, cut: impl Fn(&Request) -> Option<usize> + Send + Sync + 'static) -> Self {
        self.cut = Some(Box::new(cut));
        self
    }

    /// Answers the referrers API.
    pub fn with_referrers(self, referrers_api: bool) -> Self {
        Self { referrers_api, ..self }
    }

    /// Mounts every blob that it has anywhere.
    pub fn with_mounts(self) -> Self {
        Self { mounts: true, ..self }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Puts an image with one layer under the tag `v1`; gives the layer's digest.
    pub fn put_image(&self, layer: &[u8]) -> Digest {
        let mut state = self.state();
        let mut put = |content: &[u8], media_type: &str| {
            let digest = Digest::sha256(content);
            state.blobs.insert(digest, content.to_vec());
            serde_json::json!({"mediaType": media_type, "digest": digest, "size": content.len()})
        };
        let config = put(b"{}", types::OCI_CONFIG);
        let layers = [put(layer, "application/vnd.oci.image.layer.v1.tar")];
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": types::OCI_MANIFEST,
            "config": config, "layers": layers})
        .to_string()
        .into_bytes();
        let digest = Digest::sha256(&manifest);
        state.manifests.insert(digest, (types::OCI_MANIFEST.into(), manifest));
        state.tags.insert("v1".into(), digest);
        Digest::sha256(layer)
    }

    fn find(&self, reference: &str) -> Option<Digest> {
        reference.parse().ok().or_else(|| self.state().tags.get(reference).copied())
    }

    fn manifest(&self, request: &Request, reference: &str) -> Reply {
        if request.method == "PUT" {
            let digest = Digest::sha256(&request.body);
            let media_type = request.header("content-type").unwrap_or_default().to_owned();
            let mut state = self.state();
            if reference.parse::<Digest>().is_err() {
                state.tags.insert(reference.into(), digest);
            }
            state.manifests.insert(digest, (media_type, request.body.clone()));
            let reply = Reply::new(201).header("docker-content-digest", digest);
            let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            return match body["subject"]["digest"].as_str() {
                Some(subject) if self.referrers_api => reply.header("oci-subject", subject),
                _ => reply,
            };
        }
        let found = self
            .find(reference)
            .and_then(|digest| Some((digest, self.state().manifests.get(&digest)?.clone())));
        let Some((digest, (media_type, bytes))) = found else {
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here"}]}"#;
            return Reply::new(404).header("content-type", "application/json").body(body);
        };
        if request.method == "DELETE" {
            let mut state = self.state();
            state.tags.remove(reference);
            if reference.parse::<Digest>().is_ok() {
                state.manifests.remove(&digest);
                state.tags.retain(|_, tagged| *tagged != digest);
            }
            return Reply::new(202);
        }
        Reply::new(200).header("content-type", media_type).header("docker-content-digest", digest).body(bytes)
    }

    fn blob(&self, request: &Request, digest: &str) -> Reply {
        let found = digest.parse().ok().and_then(|digest| self.state().blobs.get(&digest).cloned());
        let Some(bytes) = found else { return Reply::new(404) };
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match range.and_then(|start| start.parse::<usize>().ok()) {
            Some(start) => Reply::new(206)
                .header("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
                .body(&bytes[start..]),
            None => Reply::new(200).body(bytes),
        }
    }

    fn upload(&self, request: &Request, name: &str, session: &str) -> Reply {
        let mut state = self.state();
        if request.method == "POST" {
            let wanted = request.query("mount").and_then(|digest| digest.parse().ok());
            if self.mounts && wanted.is_some_and(|digest: Digest| state.blobs.contains_key(&digest)) {
                return Reply::new(201);
            }
            let session = format!("s{}", state.uploads.len());
            state.uploads.insert(session.clone(), Vec::new());
            // Relative, and with a state of its own, as distribution has it.
            return Reply::new(202)
                .header("location", format!("/v2/{name}/blobs/uploads/{session}?_state=a%3D"));
        }
        let location = format!("/v2/{name}/blobs/uploads/{session}?_state=b%3D");
        let Some(bytes) = state.uploads.get_mut(session) else { return Reply::new(404) };
        if request.method == "GET" {
            let last = bytes.len().saturating_sub(1);
            return Reply::new(204).header("location", location).header("range", format!("0-{last}"));
        }
        if request.method == "DELETE" {
            state.uploads.remove(session);
            return Reply::new(204);
        }
        let start = request.header("content-range").and_then(|range| range.split_once('-')?.0.parse().ok());
        if start.is_some_and(|start: usize| start != bytes.len()) {
            return Reply::new(416);
        }
        bytes.extend_from_slice(&request.body);
        // What arrived before the connection broke stays, whichever way it was sent.
        if request.method == "PATCH" || request.cut {
            let last = bytes.len().saturating_sub(1);
            return Reply::new(202).header("location", location).header("range", format!("0-{last}"));
        }
        let content = state.uploads.remove(session).unwrap_or_default();
        match request.query("digest").map(str::parse::<Digest>) {
            Some(Ok(digest)) if digest == Digest::sha256(&content) => {
                state.blobs.insert(digest, content);
                Reply::new(201)
            }
            _ => Reply::new(400),
        }
    }

    fn referrers(&self, digest: &str) -> Reply {
        if !self.referrers_api {
            return Reply::new(404);
        }
        let state = self.state();
        let about = state.manifests.iter().filter(|(_, (_, bytes))| {
            let body: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
            body["subject"]["digest"] == digest
        });
        let entries: Vec<_> = about
            .map(|(digest, (media_type, bytes))| {
                serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
            })
            .collect();
        let index =
            serde_json::json!({"schemaVersion": 2, "mediaType": types::OCI_INDEX, "manifests": entries});
        Reply::new(200).header("content-type", types::OCI_INDEX).body(index.to_string())
    }
}

impl Handler for Registry {
    fn cut_body(&self, request: &Request) -> Option<usize> {
        self.cut.as_ref().and_then(|cut| cut(request))
    }

    fn answer(&self, request: &Request) -> Reply {
        if let Some(reply) = self.hook.as_ref().and_then(|hook| hook(request)) {
            return reply;
        }
        let path = request.path.strip_prefix("/v2/").unwrap_or_default();
        let parts: Vec<&str> = path.rsplitn(3, '/').collect();
        match parts[..] {
            [reference, "manifests", _] => self.manifest(request, reference),
            [digest, "referrers", _] => self.referrers(digest),
            [session, "uploads", name] => {
                self.upload(request, name.strip_suffix("/blobs").unwrap_or(name), session)
            }
            [digest, "blobs", _] => self.blob(request, digest),
            [""] => Reply::new(200),
            _ => Reply::new(404),
        }
    }
}

/// A hook that acts for the first `times` requests that fit.
pub fn first(
    times: usize,
    fits: impl Fn(&Request) -> bool + Send + Sync + 'static,
    reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static {
    let left = Arc::new(Mutex::new(times));
    move |request| {
        let mut left = left.lock().expect("no panic");
        if *left == 0 || !fits(request) {
            return None;
        }
        *left -= 1;
        Some(reply(request))
    }
}
