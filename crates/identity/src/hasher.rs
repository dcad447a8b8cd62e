//! Passwords are hashed a few at a time: each takes 19 MiB and a core for some time, and whoever wants to bring the
//! server down only has to sign in often.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;

use crate::crypto::CryptoError;
use crate::password::PasswordHash;
use crate::secret::Secret;

/// Hashes passwords in the blocking pool, so many at once, while a bounded number waits.
#[derive(Debug)]
pub struct Hasher {
    /// Those who wait and those whose turn it is.
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Hasher {
    /// Hashes so many passwords at once, at least one, while at most so many others wait.
    pub fn new(at_once: usize, waiting: usize) -> Self {
        let at_once = at_once.clamp(1, 1_000);
        let places = at_once + waiting.min(100_000);
        Self { places: Arc::new(Semaphore::new(places)), turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// Waits for a turn. [`CryptoError::Busy`] if too many wait.
    ///
    /// Who signs in is to be checked by [`Attempts`](crate::Attempts) before this, so that who is locked out takes no
    /// place, and once more after it: else all guesses that wait here would have been let through before the first
    /// of them had failed.
    pub async fn turn(&self) -> Result<Turn, CryptoError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| CryptoError::Busy)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| CryptoError::Busy)?;
        Ok(Turn { _permits: [place, turn] })
    }
}

/// The turn to hash one password. It ends with the work, even if who asked for that has gone.
#[derive(Debug)]
pub struct Turn {
    _permits: [OwnedSemaphorePermit; 2],
}

impl Turn {
    /// Hashes the password.
    pub async fn hash(self, password: Secret) -> Result<PasswordHash, CryptoError> {
        self.run(move || PasswordHash::of(&password)).await
    }

    /// Whether it is the hash of the password. Where there is no such user, give `None`: that costs the same.
    pub async fn verify(self, hash: Option<PasswordHash>, password: Secret) -> Result<bool, CryptoError> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(PasswordHash::of_nobody);
        Ok(self.run(move || hash.verify(&password)).await? && is_known)
    }

    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, CryptoError> + Send + 'static,
    ) -> Result<T, CryptoError> {
        // The turn goes with the work: it is not over when the client hangs up, but when the memory is given back.
        let work = task::spawn_blocking(move || {
            let done = work();
            drop(self);
            done
        });
        work.await.map_err(|error| CryptoError::Password(error.to_string()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_hashed_and_known_again() {
        let hasher = Hasher::new(1, 0);
        let hash = hasher.turn().await.unwrap().hash(Secret::new("correct horse")).await.unwrap();
        for (hash, password, expect) in [
            (Some(hash.clone()), "correct horse", true),
            (Some(hash), "wrong", false),
            (None, "correct horse", false),
            (None, "", false),
        ] {
            let turn = hasher.turn().await.unwrap();
            assert_eq!(turn.verify(hash, Secret::new(password)).await.unwrap(), expect, "{password}");
        }
    }

    #[tokio::test]
    async fn so_many_have_a_turn_and_so_many_wait() {
        let hasher = Arc::new(Hasher::new(2, 1));
        let (first, second) = (hasher.turn().await.unwrap(), hasher.turn().await.unwrap());
        let third = tokio::spawn({
            let hasher = Arc::clone(&hasher);
            async move { hasher.turn().await }
        });
        while hasher.places.available_permits() > 0 {
            task::yield_now().await;
        }
        assert!(!third.is_finished());
        assert_eq!(hasher.turn().await.unwrap_err(), CryptoError::Busy);
        drop(first);
        let third = third.await.unwrap().unwrap();
        drop((second, third));
        assert_eq!((hasher.places.available_permits(), hasher.turns.available_permits()), (3, 2));
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_the_work() {
        let hasher = Hasher::new(1, 0);
        let (begin, begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let turn = hasher.turn().await.unwrap();
        let asked = tokio::spawn(turn.run(move || {
            begin.send(()).unwrap();
            ended.recv().map_err(|_| CryptoError::Random)
        }));
        task::spawn_blocking(move || begun.recv()).await.unwrap().unwrap();
        asked.abort();
        asked.await.unwrap_err();
        assert_eq!(hasher.turn().await.unwrap_err(), CryptoError::Busy);
        end.send(()).unwrap();
        while hasher.turns.available_permits() == 0 {
            task::yield_now().await;
        }
        hasher.turn().await.unwrap();
    }
}
