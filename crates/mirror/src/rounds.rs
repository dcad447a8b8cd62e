//! Requests that go round in a circle, because upstreams lead back: they are to end, and soon.
//!
//! Who has been here before is refused. But those who want the same wait for one another, and where each node of a circle
//! is asked at once, each waits for the next one's work, and no request goes all the way round. So who has come through
//! other registries, and waits for what somebody else has begun, sends a question of its own after a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use registry::Trail;
use tokio::time::timeout;

use crate::error::FetchError;
use crate::mirror::Mirror;

/// How long work may tell nothing before it is asked whether it ever will.
const PATIENCE: Duration = Duration::from_secs(3);

impl Mirror {
    /// Refuses to ask an upstream for who has been here before, or has come through too many.
    pub(crate) fn may_ask(&self) -> Result<(), FetchError> {
        let Self { trail, node, .. } = self;
        let reason = if trail.has(*node) {
            format!(
                "{} of this kind were asked, and this one is the first of them again",
                trail.nodes().len()
            )
        } else if trail.is_full() {
            format!("the question has come through {} registries of this kind", Trail::LONGEST)
        } else {
            return Ok(());
        };
        Err(FetchError::Loops { reason })
    }

    /// The outcome of work, unless somebody else has begun it, and `question`, asked by itself, comes back.
    pub(crate) async fn unless_round<T, Q>(
        &self,
        work: impl Future<Output = Result<T, FetchError>>,
        is_own: &AtomicBool,
        question: impl Future<Output = Result<Q, FetchError>>,
    ) -> Result<T, FetchError> {
        if self.trail.nodes().is_empty() {
            return work.await;
        }
        tokio::pin!(work);
        if let Ok(outcome) = timeout(PATIENCE, &mut work).await {
            return outcome;
        }
        if is_own.load(Ordering::Relaxed) {
            // It says itself how it came here.
            return work.await;
        }
        let goes_round = async {
            match question.await {
                Err(error @ FetchError::Loops { .. }) => error,
                // It is only slow.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = &mut work => outcome,
            error = goes_round => Err(error),
        }
    }
}
