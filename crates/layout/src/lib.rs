//! Local ends of a copy: folders and archives as [`transfer::Source`] and [`transfer::Target`].
//!
//! Four forms are known: the OCI image layout in a folder (`oci:`) and in a tar file (`oci-archive:`), the files
//! of `docker save` (`docker-archive:`), and skopeo's flat folders (`dir:`). Nothing is unpacked: a tar file is
//! read by the offsets of its members, and written in place. Files appear under their name only when complete.

mod archive;
mod blocking;
mod content;
mod dir;
mod docker;
mod docker_manifest;
mod error;
mod folder;
mod index;
mod layout_source;
mod local_ref;
mod range;
mod tar_index;
mod tar_writer;
mod write;

pub use error::LayoutError;
pub use local_ref::{Kind, LocalRef};
