//! Lists: the tags of a repository, and the repositories.

use access::{Action, Grant, Listing, Visibility};
use meta::{RepositoryRow, Visible};
use oci::{RepoName, Tag};

use crate::{Registry, RegistryError, granted};

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in bytewise order.
    pub entries: Vec<T>,
    /// Whether more come after the last.
    pub more: bool,
}

impl<T> Page<T> {
    /// From one entry more than fits, which tells whether there is more.
    fn cut(mut entries: Vec<T>, limit: usize) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        Self { entries, more }
    }
}

impl Registry {
    /// Up to `limit` tags of the repository after `last`, which need not exist.
    pub async fn tags(
        &self,
        grant: &Grant,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Page<Tag>, RegistryError> {
        let repository = granted(grant, Action::Pull)?;
        let limit = limit.min(self.limits.page);
        let found = self.meta.tags(repository, last, limit + 1).await?;
        let tags = found.ok_or_else(|| RegistryError::RepositoryUnknown(repository.clone()))?;
        Ok(Page::cut(tags, limit))
    }

    /// Up to `limit` repositories after `last` that may be seen.
    pub async fn repositories(
        &self,
        listing: &Listing,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepoName>, RegistryError> {
        let limit = limit.min(self.limits.page);
        let names = self.meta.repositories(&visible(listing), last, limit + 1).await?;
        Ok(Page::cut(names, limit))
    }

    /// The same, with what each repository holds.
    pub async fn usage(
        &self,
        listing: &Listing,
        last: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryRow>, RegistryError> {
        let limit = limit.min(self.limits.page);
        let rows = self.meta.usage(&visible(listing), last, limit + 1).await?;
        Ok(Page::cut(rows, limit))
    }
}

/// What the policy allows to be seen, in the words of the store.
pub(crate) fn visible(listing: &Listing) -> Visible {
    match listing.visibility() {
        Visibility::All => Visible::All,
        Visibility::Projects(projects) => Visible::Projects(projects.clone()),
    }
}
