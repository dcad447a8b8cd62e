//! The first start: somebody must be there to let others in.

use access::Grant;
use meta::{Batch, Condition, EntryKind, Write};

use super::users::user;
use super::{Directory, entry_name, expect, members, origin};
use crate::IdentityError;
use crate::model::{Member, Principal, Source, UserRecord};
use crate::names::UserName;
use crate::secret::Secret;

/// The administrator that was made, and how they sign in: shown this once.
#[derive(Debug)]
pub struct FirstStart {
    /// The name.
    pub user: UserName,
    /// The password.
    pub password: Secret,
}

impl Directory {
    /// Makes the administrator `admin` where there is no user at all.
    pub async fn first_start(&self, grant: &Grant) -> Result<Option<FirstStart>, IdentityError> {
        expect(grant, access::Action::ManageUsers, &access::Target::System)?;
        if !self.meta.entries(EntryKind::User, None, 1).await?.is_empty() {
            return Ok(None);
        }
        let name: UserName = "admin".parse().map_err(|error| IdentityError::Invalid(format!("{error}")))?;
        let password = Secret::random_password()?;
        let record = UserRecord {
            source: Source::Local,
            email: String::new(),
            display_name: "Administrator".into(),
            disabled: false,
            times_disabled: 0,
            password: Some(self.hash_new(&name, &password).await?),
            must_change_password: false,
            external_groups: Vec::new(),
            subject: None,
        };
        let principal = Principal::User(name.clone());
        let member = Member { principal, role: "system-admin".into(), project: None };
        let absent =
            Condition::EntryIs { kind: EntryKind::User, name: entry_name(name.as_str())?, revision: None };
        let batch = Batch::of(origin(grant), Write::Entry(user(&name, &record).entry()?))
            .then(Write::Entry(members::binding(&member, &members::record(&member)).entry()?))
            .when(absent);
        self.change(batch).await?;
        Ok(Some(FirstStart { user: name, password }))
    }
}
