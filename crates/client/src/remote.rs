//! A registry as a whole: opened once, and shared by whatever asks it something.

use std::sync::Arc;

use oci::RepoName;
use reqwest::{Method, StatusCode};

use crate::auth::Scope;
use crate::transport::{Call, Transport};
use crate::{ClientError, Host, List, Repository, Settings};

/// A registry with its settings. Connections and tokens are shared by all its repositories; cloning is cheap.
#[derive(Clone)]
pub struct Remote {
    transport: Arc<Transport>,
}

impl Remote {
    /// Opens a registry. Nothing is sent yet.
    pub fn open(host: &Host, settings: &Settings) -> Result<Self, ClientError> {
        Ok(Self { transport: Arc::new(Transport::new(host, settings)?) })
    }

    /// The registry.
    pub fn host(&self) -> &Host {
        self.transport.host()
    }

    /// A repository of it. Cheap, and nothing is sent.
    pub fn repository(&self, name: &RepoName) -> Repository {
        Repository::new(self.transport.clone(), name.clone())
    }

    /// Asks the registry whether it takes the credential that there is for it. False where it asks nobody who they are.
    pub async fn check_credential(&self) -> Result<bool, ClientError> {
        let scope = Scope::nothing();
        let call = Call::new(Method::GET, self.transport.url(""), scope.clone());
        let response = self.transport.send(&call).await?;
        match response.status() {
            StatusCode::OK => Ok(self.transport.has_credential(&scope)),
            _ => Err(self.transport.failure(Method::GET, response).await),
        }
    }

    /// All repositories, page by page.
    pub fn repositories(&self) -> List<'_, RepoName> {
        let mut url = self.transport.url("_catalog");
        url.set_query(Some("n=1000"));
        let place = format!("docker://{}", self.host());
        List::new(&self.transport, url, Scope::catalog(), "repositories", place)
    }
}
