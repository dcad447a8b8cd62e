//! The OCI Distribution protocol (version 1.1 and the newer end-points), and the Docker registry API around it.
//!
//! A handler is four moves: extract, authorise, one core call, render.

mod blobs;
mod challenge;
mod edge;
mod endpoint;
mod error;
mod lists;
mod manifests;
mod operation;
mod reply;
mod uploads;
mod via;

pub use challenge::SERVICE;
pub use edge::{Observation, Observe, OciEdge};
pub use endpoint::{Endpoint, PageQuery, QUERY_MAX, RouteError, Start};
pub use error::{Code, WireError};
pub use operation::{Operation, Permission};
