//! Reading response bodies: as a stream, or whole where they are small.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Response;
use tokio::time::timeout;

use crate::ClientError;

/// Reads a body of at most `most` bytes, of which a piece must come each `stall`.
pub(crate) async fn read_body(
    response: &mut Response,
    most: usize,
    stall: Duration,
) -> Result<Bytes, ClientError> {
    let url = response.url().clone();
    let mut body = BytesMut::new();
    while let Some(chunk) = next_chunk(response, stall).await? {
        if body.len() + chunk.len() > most {
            return Err(ClientError::TooLarge { url: url.into(), most });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The body as it arrives, its first `skip` bytes left out.
pub(crate) fn stream_body(
    response: Response,
    skip: u64,
    stall: Duration,
) -> BoxStream<'static, Result<Bytes, ClientError>> {
    stream::try_unfold((response, skip), move |(mut response, mut skip)| async move {
        while let Some(mut chunk) = next_chunk(&mut response, stall).await? {
            let dropped = skip.min(chunk.len() as u64);
            skip -= dropped;
            // Never more than the chunk, so it fits.
            let rest = chunk.split_off(dropped as usize);
            if !rest.is_empty() {
                return Ok(Some((rest, (response, skip))));
            }
        }
        Ok(None)
    })
    .into_stream()
    .boxed()
}

async fn next_chunk(response: &mut Response, stall: Duration) -> Result<Option<Bytes>, ClientError> {
    match timeout(stall, response.chunk()).await {
        Ok(outcome) => outcome.map_err(|error| ClientError::lost(response.url(), error)),
        Err(_) => Err(ClientError::Silent { url: response.url().clone().into(), transient: true }),
    }
}
