//! Which registries projects replace, and for how long.

use std::time::Duration;

use access::{Action, Grant, Target};
use meta::EntryKind;
use oci::{ProjectName, RepoName};

use super::projects::{of, project};
use super::{Directory, Known, expect, origin};
use crate::IdentityError;
use crate::model::{Fallback, FallbackRecord, NewFallback, ProjectRecord};

/// After so many days it ends for good, and must be set anew by who administers the registry.
const DAYS_MAX: u64 = 365;

impl Directory {
    /// What holds for a repository: what the innermost project around it says, be it that it is over.
    pub fn fallback_of(&self, repository: &RepoName) -> Option<Fallback> {
        let known = self.known();
        if known.fallbacks.is_empty() {
            return None;
        }
        self.shown_fallback(&known, repository.projects())
    }

    fn shown_fallback<'a>(
        &self,
        known: &Known,
        mut innermost_first: impl Iterator<Item = &'a str>,
    ) -> Option<Fallback> {
        let (name, record) = innermost_first.find_map(|name| known.fallbacks.get_key_value(name))?;
        Some(Fallback::new(name.clone(), record, self.now()))
    }

    /// What holds in a project.
    pub fn fallback(&self, grant: &Grant) -> Result<Fallback, IdentityError> {
        // Whoever may read its journal may know it, too.
        let name = of(grant, Action::ReadProject).or_else(|_| of(grant, Action::ReadAudit))?;
        self.fallback_in(name)
    }

    fn fallback_in(&self, name: &ProjectName) -> Result<Fallback, IdentityError> {
        let unknown = || IdentityError::Unknown {
            what: "registry that is replaced, set for the project",
            name: name.to_string(),
        };
        self.shown_fallback(&self.known(), name.ancestors()).ok_or_else(unknown)
    }

    /// Says which registry a project replaces. The grant is for administering the registry: who may pull in the project
    /// gets what the credential of the upstream may read there.
    pub async fn set_fallback(
        &self,
        grant: &Grant,
        name: &ProjectName,
        new: NewFallback,
    ) -> Result<Fallback, IdentityError> {
        expect(grant, Action::Administer, &Target::System)?;
        let prefix = new.prefix.unwrap_or_else(|| name.to_string());
        if !prefix.is_empty()
            && let Err(error) = prefix.parse::<RepoName>()
        {
            return Err(IdentityError::Invalid(format!(
                "`prefix` is a path such as `team-a`, or empty: {error}"
            )));
        }
        let since = self.now();
        let until = since.plus(days(new.days)?);
        let record = FallbackRecord { upstream: new.upstream, prefix, since, until, keep: new.keep };
        self.keep_fallback(grant, name, record).await
    }

    /// Lets it go on for some days more.
    pub async fn extend_fallback(&self, grant: &Grant, more: u64) -> Result<Fallback, IdentityError> {
        let name = of(grant, Action::UpdateProject)?;
        let (mut record, now) = (self.fallback_record(name)?, self.now());
        record.until = record.until.max(now).plus(days(more)?);
        let latest = record.since.plus(days(DAYS_MAX)?);
        if record.until > latest {
            let set = crate::date(record.since);
            return Err(IdentityError::Invalid(format!(
                "it was set on {set}, and can last until {} at the latest: who administers the registry can set it anew",
                crate::date(latest)
            )));
        }
        self.keep_fallback(grant, name, record).await
    }

    /// Ends it now: in this project, also where one further out goes on.
    pub async fn end_fallback(&self, grant: &Grant) -> Result<(), IdentityError> {
        let name = of(grant, Action::UpdateProject)?;
        let (mut record, now) = (self.fallback_record(name)?, self.now());
        record.until = record.until.min(now);
        self.keep_fallback(grant, name, record).await.map(|_| ())
    }

    /// What holds in a project, as if it were set there.
    fn fallback_record(&self, name: &ProjectName) -> Result<FallbackRecord, IdentityError> {
        let Fallback { project, upstream, prefix, since, until, keep, .. } = self.fallback_in(name)?;
        let below = name.as_str().strip_prefix(project.as_str()).unwrap_or_default();
        let prefix = format!("{prefix}{below}").trim_start_matches('/').to_owned();
        Ok(FallbackRecord { upstream, prefix, since, until, keep })
    }

    async fn keep_fallback(
        &self,
        grant: &Grant,
        name: &ProjectName,
        record: FallbackRecord,
    ) -> Result<Fallback, IdentityError> {
        let (entry, mut kept) = self.get::<ProjectRecord>(EntryKind::Project, name.as_str()).await?;
        let shown = Fallback::new(name.clone(), &record, self.now());
        kept.fallback = Some(record);
        self.replace(origin(grant), &entry, project(name, &kept)).await?;
        Ok(shown)
    }
}

fn days(days: u64) -> Result<Duration, IdentityError> {
    if (1..=DAYS_MAX).contains(&days) {
        Ok(Duration::from_secs(days * 86_400))
    } else {
        Err(IdentityError::Invalid(format!("`days` is a number from 1 to {DAYS_MAX}")))
    }
}
