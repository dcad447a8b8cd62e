//! Blocking work, away from the threads that move the network's bytes.

use transfer::TransferError;

use crate::LayoutError;

/// Runs file work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, TransferError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(LayoutError::into_transfer),
        Err(error) => Err(TransferError::Task(error.to_string())),
    }
}
