//! Reading: the queries, one file for each role of the port.

pub(crate) mod blobs;
pub(crate) mod collect;
pub(crate) mod entries;
pub(crate) mod events;
pub(crate) mod fallbacks;
pub(crate) mod inspect;
pub(crate) mod lists;
pub(crate) mod manifests;
pub(crate) mod mirrors;

use meta::Visible;

/// The names of the visible projects as JSON, for a query to test against; `None` where all are visible.
pub(crate) fn projects(visible: &Visible) -> Option<String> {
    match visible {
        Visible::All => None,
        Visible::Projects(names) => Some(serde_json::Value::from(names.as_slice()).to_string()),
    }
}
