//! Finding the segments in a blob store, and which of them are the history that was kept.

use std::collections::BTreeMap;
use std::io;

use blob::{BlobError, BlobKey, BlobRead, ByteRange};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::form::{FormError, Reader, SEGMENT_MAX};
use crate::{Registry, RegistryError};

/// How many numbers in a row may be missing before they are taken for the end.
const GAP: u64 = 1_000;

/// The beginning of an object that has its head, compressed as it is.
const HEAD: u64 = 4 << 10;

impl Registry {
    /// Which segments there are, and which each one goes on from, as far as that can be read.
    pub(super) async fn links(&self) -> Result<BTreeMap<u64, Option<u64>>, RegistryError> {
        let mut links = BTreeMap::new();
        let mut missing = 0;
        let mut number: u64 = 0;
        while missing < GAP {
            let key = BlobKey::Segment(number);
            match self.blobs.stat(key).await {
                Ok(stat) => {
                    let head = ByteRange { offset: 0, length: stat.size.min(HEAD) };
                    let previous = match self.object(key, Some(head)).await? {
                        Ok(head) => Reader::new(head).header().map(|header| header.previous),
                        Err(error) => Err(error),
                    };
                    links.insert(number, previous.unwrap_or_else(|_| number.checked_sub(1)));
                    missing = 0;
                }
                Err(BlobError::NotFound) => missing += 1,
                Err(error) => return Err(RegistryError::Blobs(error)),
            }
            number += 1;
        }
        Ok(links)
    }

    /// An object, or a part, in memory. What it says of itself may be wrong: nothing is believed beyond limits.
    pub(super) async fn object(
        &self,
        key: BlobKey,
        range: Option<ByteRange>,
    ) -> Result<Result<Bytes, FormError>, RegistryError> {
        let (length, stream) = match self.blobs.read(key, range).await.map_err(RegistryError::Blobs)? {
            BlobRead::File(file) => (file.length, file.stream()),
            BlobRead::Stream { length, stream } => (length, stream),
        };
        if length > SEGMENT_MAX {
            return Ok(Err(FormError::TooLarge));
        }
        Ok(gather(stream).await.map_err(FormError::Packing))
    }
}

async fn gather(mut stream: BoxStream<'static, io::Result<Bytes>>) -> io::Result<Bytes> {
    let mut gathered = BytesMut::new();
    while let Some(bytes) = stream.next().await {
        gathered.extend_from_slice(&bytes?);
    }
    Ok(gathered.freeze())
}

/// The segments of the history that was kept, in its order. A segment that is not there goes on from the number
/// before.
pub(super) fn chain(links: &BTreeMap<u64, Option<u64>>) -> Vec<u64> {
    let mut chain = Vec::new();
    let mut at = links.keys().next_back().copied();
    while let Some(number) = at {
        chain.push(number);
        let before = number.checked_sub(1);
        at = match links.get(&number).copied().unwrap_or(before) {
            // Backwards only, whatever it says: the walk must end.
            Some(previous) if previous >= number => before,
            previous => previous,
        };
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[test]
    fn the_chain_is_walked_from_its_end() {
        let check = |links: &[(u64, Option<u64>)], expect: &[u64]| {
            assert_eq!(chain(&links.iter().copied().collect()), expect, "{links:?}");
        };
        check(&[], &[]);
        check(&[(0, None), (1, Some(0)), (2, Some(1))], &[0, 1, 2]);
        // A crash left 1; a restored backup went on from 1 as 4.
        check(&[(0, None), (1, Some(0)), (2, Some(0))], &[0, 2]);
        check(&[(0, None), (1, Some(0)), (2, Some(1)), (3, Some(2)), (4, Some(1))], &[0, 1, 4]);
        // 1 is missing.
        check(&[(0, None), (2, Some(1))], &[0, 1, 2]);
        // What is damaged says nothing that holds the walk up.
        check(&[(0, Some(9)), (1, Some(1)), (2, Some(7))], &[0, 1, 2]);
        // Another history began at 2.
        check(&[(0, None), (1, Some(0)), (2, None)], &[2]);
    }
}
