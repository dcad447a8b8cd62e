//! The OCI Distribution protocol (version 1.1 and the newer end-points), and the Docker registry API around it.
//!
//! A handler is four moves: extract, authorise, one core call, render.

mod blobs;
mod by_url;
mod challenge;
mod edge;
mod endpoint;
mod error;
mod fair_use;
mod lists;
mod manifests;
mod operation;
mod reply;
mod signed_url;
mod sites;
mod uploads;
mod via;

pub use by_url::ByUrl;
pub use challenge::SERVICE;
pub use edge::{Observation, Observe, OciEdge};
pub use endpoint::{Endpoint, PageQuery, QUERY_MAX, RouteError, Start};
pub use error::{Code, WireError};
pub use operation::{Operation, Permission};
pub use signed_url::{UrlKey, UrlKeys};
pub use sites::{Seconds, Site, SiteUrl, Sites};
