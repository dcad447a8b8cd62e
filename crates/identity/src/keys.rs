//! The keys that access tokens are signed with: made at the first start, replaced every ninety days.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use access::{Action, Grant, Target};
use meta::EntryKind;

use crate::signer::Signer;
use crate::signing_key::SigningKey;
use crate::{Directory, IdentityError};

/// How long a refresh token lives: no token lives longer.
pub(crate) const REFRESH_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// The signer of the moment.
pub(crate) struct Keys(RwLock<Arc<Signer>>);

impl Keys {
    /// Reads the keys, and makes the first.
    pub(crate) async fn open(directory: &Directory) -> Result<Self, IdentityError> {
        Ok(Self(RwLock::new(Arc::new(settle(directory).await?))))
    }

    pub(crate) fn signer(&self) -> Arc<Signer> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a new key where it is time, and deletes those that nobody needs any more.
    pub(crate) async fn tend(&self, directory: &Directory) -> Result<(), IdentityError> {
        let signer = Arc::new(settle(directory).await?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = signer;
        Ok(())
    }
}

async fn settle(directory: &Directory) -> Result<Signer, IdentityError> {
    let grant = Grant::system("keys", Action::Administer, Target::System);
    let now = directory.now();
    let mut keys = directory.signing_keys().await?;
    if keys.is_empty() || Signer::new(&keys, REFRESH_LIFE)?.due(now) {
        let key = SigningKey::generate(now)?;
        directory.keep_signing_key(&grant, &key).await?;
        keys.push(key);
    }
    let signer = Signer::new(&keys, REFRESH_LIFE)?;
    for kid in signer.retired(now) {
        directory.drop_entry(&grant, EntryKind::SigningKey, kid).await?;
    }
    Ok(signer)
}
