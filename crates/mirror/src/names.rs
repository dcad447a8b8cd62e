//! What names mean: which of them are an upstream's.

use std::collections::HashMap;
use std::sync::Arc;

use oci::RepoName;

use crate::upstream::Upstream;

/// The upstreams, by what they are called.
pub(crate) struct Names {
    keys: HashMap<String, Arc<Upstream>>,
    /// By what clients say in `ns`.
    namespaces: HashMap<String, Arc<Upstream>>,
    pathless: Option<Arc<Upstream>>,
    /// What clients call this registry.
    own: Vec<String>,
}

/// Where a repository comes from.
#[derive(Clone)]
pub(crate) struct Place {
    pub upstream: Arc<Upstream>,
    /// What it is called there.
    pub path: RepoName,
}

impl Names {
    pub fn new(upstreams: &[Arc<Upstream>], own: Vec<String>) -> Self {
        let by = |names: &dyn Fn(&Upstream) -> Vec<String>| -> HashMap<String, Arc<Upstream>> {
            upstreams
                .iter()
                .flat_map(|upstream| names(upstream).into_iter().map(|name| (name, upstream.clone())))
                .collect()
        };
        Self {
            keys: by(&|upstream| vec![upstream.key().to_owned()]),
            namespaces: by(&|upstream| upstream.settings.namespaces.clone()),
            pathless: upstreams.iter().find(|upstream| upstream.settings.pathless).cloned(),
            own,
        }
    }

    /// Where a repository here comes from, if its name is an upstream's.
    pub fn place(&self, repository: &RepoName) -> Option<Place> {
        let (key, path) = repository.as_str().split_once('/')?;
        let upstream = self.keys.get(key)?;
        Some(Place { upstream: upstream.clone(), path: path.parse().ok()? })
    }

    /// The upstream that a repository here is named after.
    pub fn upstream(&self, repository: &RepoName) -> Option<&Upstream> {
        let (key, _) = repository.as_str().split_once('/')?;
        self.keys.get(key).map(|upstream| &**upstream)
    }

    /// The upstream's repository that a name means by itself.
    pub fn prefixed(&self, name: &RepoName) -> Option<RepoName> {
        let (key, path) = name.as_str().split_once('/')?;
        let upstream = self.keys.get(key)?;
        // Nearly all are: nothing is to be read anew within each pull.
        if upstream.is_whole(path) { Some(name.clone()) } else { upstream.repository(path) }
    }

    /// The upstream's repository that a name means where it is nobody else's.
    pub fn pathless(&self, name: &RepoName) -> Option<RepoName> {
        self.pathless.as_ref()?.repository(name.as_str())
    }

    /// The upstream's repository that a name means in a namespace.
    pub fn in_namespace(&self, name: &RepoName, namespace: &str) -> Option<RepoName> {
        self.namespaces.get(namespace)?.repository(name.as_str())
    }

    /// Whether a client means this registry by a namespace.
    pub fn is_own(&self, namespace: &str) -> bool {
        self.own.iter().any(|own| own == namespace)
    }
}
