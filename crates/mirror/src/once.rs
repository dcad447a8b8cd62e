//! One piece of work for all who want the same, which ends whoever of them leaves.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// Where work tells its outcome. It may go on after that, and is joined until it ends.
pub(crate) struct Outcome<T>(watch::Sender<Option<T>>);

impl<T> Outcome<T> {
    /// Tells everybody who waits, and who comes later.
    pub fn tell(&self, value: T) {
        self.0.send_replace(Some(value));
    }
}

/// Work that is going on, by what it is about.
pub(crate) struct Once<K, T>(Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>);

impl<K, T> Clone for Once<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, T> Default for Once<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, T> Once<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    fn running(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of the work that goes on about `key`, or else of `work`, which is begun. `None` where it ended and
    /// told nothing, as after a panic.
    pub async fn join(&self, key: K, work: impl FnOnce(Outcome<T>) -> BoxFuture<'static, ()>) -> Option<T> {
        let mut outcome = self.begin(key, work);
        outcome.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Begins that work, unless it goes on already, and waits for nothing.
    pub fn begin(
        &self,
        key: K,
        work: impl FnOnce(Outcome<T>) -> BoxFuture<'static, ()>,
    ) -> watch::Receiver<Option<T>> {
        let mut running = self.running();
        if let Some(outcome) = running.get(&key) {
            return outcome.clone();
        }
        let (sender, receiver) = watch::channel(None);
        running.insert(key.clone(), receiver.clone());
        let (work, over) = (work(Outcome(sender)), Over { all: self.0.clone(), key });
        tokio::spawn(async move {
            // Also where the work panics.
            let _over = over;
            work.await;
        });
        receiver
    }

    /// What was told already of the work that goes on about `key`, where there is some.
    pub fn told(&self, key: &K) -> Option<T> {
        self.running().get(key)?.borrow().clone()
    }

    /// How much work goes on.
    pub fn len(&self) -> usize {
        self.running().len()
    }
}

/// Makes room for the next work of a key.
struct Over<K: Eq + Hash, T> {
    all: Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Over<K, T> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all_and_goes_on_when_the_first_leaves() {
        let (once, begun) = (Arc::new(Once::<u8, usize>::default()), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let (once, begun) = (once.clone(), begun.clone());
            async move {
                once.join(1, move |outcome| {
                    let number = begun.fetch_add(1, Ordering::SeqCst);
                    Box::pin(async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        outcome.tell(number);
                    })
                })
                .await
            }
        };
        let first = tokio::spawn(ask());
        tokio::task::yield_now().await;
        first.abort();
        assert_eq!(tokio::join!(ask(), ask(), ask()), (Some(0), Some(0), Some(0)));
        while once.len() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask().await, Some(1), "what is over is begun anew");
    }

    #[tokio::test]
    async fn work_that_panics_is_over() {
        let once = Once::<u8, ()>::default();
        let told = once.join(1, |outcome| {
            Box::pin(async move {
                let _kept = outcome;
                panic!("as some do")
            })
        });
        assert_eq!((told.await, once.len()), (None, 0));
    }
}
