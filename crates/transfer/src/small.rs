//! Small documents among the blobs, such as configurations, read whole.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use oci::Descriptor;

use crate::{Feed, Retry, Silent, Source, TransferError};

/// Reads a small blob, such as a configuration, whole and verified. `most` bounds it.
pub async fn read_small(
    source: &Arc<dyn Source>,
    descriptor: &Descriptor,
    most: u64,
) -> Result<Bytes, TransferError> {
    if descriptor.size > most {
        return Err(TransferError::TooLarge { digest: descriptor.digest, size: descriptor.size, most });
    }
    let feed = Feed::new(source.clone(), descriptor.clone(), Retry::default(), Arc::new(Silent));
    let mut stream = feed.from_start();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
