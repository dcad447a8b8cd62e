//! Reading blobs: whether there is one, and its bytes from anywhere in it on.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use oci::Digest;
use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Method, StatusCode};

use crate::body::stream_body;
use crate::clients::Lane;
use crate::repository::Access;
use crate::transport::Call;
use crate::{ClientError, Repository, headers};

/// A blob on its way.
pub struct OpenBlob {
    /// The size of the whole blob, where the registry says it.
    pub size: Option<u64>,
    /// The bytes from the offset on, as they are stored. Nobody has verified them.
    pub stream: BoxStream<'static, Result<Bytes, ClientError>>,
}

impl Repository {
    /// The size of a blob that is there, where the registry says it.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Option<u64>, ClientError> {
        match self.blob_size(digest, Access::Pull).await {
            // Addresses that are signed for GET refuse HEAD. Whoever sent us there has the blob.
            Err(ClientError::Status { elsewhere: true, .. }) => Ok(None),
            size => size,
        }
    }

    pub(crate) async fn blob_size(
        &self,
        digest: &Digest,
        access: Access,
    ) -> Result<Option<u64>, ClientError> {
        let call = Call::new(Method::HEAD, self.url(&format!("blobs/{digest}")), self.scope(access));
        let response = self.transport.send(&call).await?;
        match response.status() {
            StatusCode::OK => Ok(headers::length(response.headers())),
            StatusCode::NOT_FOUND => Err(self.not_found(digest)),
            _ => Err(self.transport.failure(Method::HEAD, response).await),
        }
    }

    /// The bytes of a blob from `offset` on.
    pub async fn open_blob(&self, digest: &Digest, offset: u64) -> Result<OpenBlob, ClientError> {
        let url = self.url(&format!("blobs/{digest}"));
        let mut call = Call::new(Method::GET, url, self.scope(Access::Pull)).lane(Lane::Bulk);
        if offset > 0 {
            call = call.header(RANGE, format!("bytes={offset}-"));
        }
        let response = self.transport.send(&call).await?;
        let wrong = |what: String| ClientError::Answer { url: response.url().clone().into(), what };
        let (size, skip) = match response.status() {
            // A registry without ranges sends the whole again: what is there already is left out.
            StatusCode::OK => match headers::length(response.headers()) {
                Some(size) if size < offset => return Err(wrong(ends_before(offset, Some(size)))),
                size => (size, offset),
            },
            StatusCode::PARTIAL_CONTENT => (whole_size(response.headers(), offset).map_err(wrong)?, 0),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(wrong(ends_before(offset, headers::unsatisfied(response.headers()))));
            }
            StatusCode::NOT_FOUND => return Err(self.not_found(digest)),
            _ => return Err(self.transport.failure(Method::GET, response).await),
        };
        Ok(OpenBlob { size, stream: stream_body(response, skip, self.transport.timeouts().stall) })
    }
}

/// The size of the whole, as a partial answer tells it, which must begin at `offset` and agree with itself.
fn whole_size(headers: &HeaderMap, offset: u64) -> Result<Option<u64>, String> {
    let range = headers::content_range(headers).filter(|range| range.first == offset);
    let Some(range) = range else {
        return Err(format!("another part of the blob than the one from byte {offset} on"));
    };
    let length = range.last.checked_sub(range.first).and_then(|length| length.checked_add(1));
    let fits = range.total.is_none_or(|total| range.last < total);
    match headers::length(headers) {
        Some(sent) if Some(sent) != length => Err(format!("{sent} bytes, but calls them a part {range}")),
        _ if length.is_none() || !fits => Err(format!("a part {range}, which cannot be")),
        _ => Ok(range.total),
    }
}

fn ends_before(offset: u64, size: Option<u64>) -> String {
    let size = size.map(|size| format!(", but has {size} bytes")).unwrap_or_default();
    format!("the blob does not reach to byte {offset}, from which on it is wanted{size}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE};

    #[test]
    fn a_part_agrees_with_itself() {
        let check = |range: &str, length: &str, expect: Result<Option<u64>, &str>| {
            let pairs = [(CONTENT_RANGE, range), (CONTENT_LENGTH, length)];
            let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let headers = pairs.map(|(name, value)| (name, value.parse().unwrap())).collect();
            match (whole_size(&headers, 5), expect) {
                (Err(error), Err(word)) => assert!(error.contains(word), "{range} {length}: {error}"),
                (outcome, _) => assert_eq!(outcome, expect.map_err(Into::into), "{range} {length}"),
            }
        };
        check("bytes 5-9/10", "5", Ok(Some(10)));
        check("bytes 5-9/10", "", Ok(Some(10)));
        check("bytes 5-9/*", "5", Ok(None));
        check("bytes 5-7/10", "3", Ok(Some(10)));
        check("bytes 4-9/10", "6", Err("another part"));
        check("bytes */10", "5", Err("another part"));
        check("", "5", Err("another part"));
        check("bytes 5-9/10", "10", Err("10 bytes"));
        check("bytes 5-9/9", "5", Err("cannot be"));
        check("bytes 5-4/9", "", Err("cannot be"));
        check("bytes 5-18446744073709551615/*", "", Ok(None));
    }
}
