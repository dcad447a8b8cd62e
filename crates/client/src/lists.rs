//! Lists that come in pages: tags and repositories.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::str::FromStr;

use reqwest::{Method, StatusCode, Url};

use crate::auth::Scope;
use crate::host::shorten;
use crate::link::next_link;
use crate::transport::{Call, Transport};
use crate::{ClientError, headers};

/// The most bytes of a page.
pub(crate) const PAGE: usize = 8 << 20;

/// The most pages of a list: a server that links round in a circle must not be followed for ever.
const PAGES: usize = 100_000;

/// A list that is fetched page by page.
pub struct List<'a, T> {
    transport: &'a Transport,
    scope: Scope,
    field: &'static str,
    place: String,
    next: Option<Url>,
    pages: usize,
    kind: PhantomData<T>,
}

impl<'a, T: FromStr> List<'a, T> {
    pub(crate) fn new(
        transport: &'a Transport,
        first: Url,
        scope: Scope,
        field: &'static str,
        place: String,
    ) -> Self {
        Self { transport, scope, field, place, next: Some(first), pages: 0, kind: PhantomData }
    }

    /// The next page, which may be empty; `None` after the last.
    pub async fn page(&mut self) -> Result<Option<Vec<T>>, ClientError> {
        let Some(url) = self.next.take() else { return Ok(None) };
        self.pages += 1;
        if self.pages > PAGES {
            let what = format!("a list of more than {PAGES} pages");
            return Err(ClientError::Answer { url: url.into(), what });
        }
        let call = Call::new(Method::GET, url.clone(), self.scope.clone());
        let (response, body) = self.transport.read(&call, PAGE).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                let what = format!("the list of {}", self.field);
                return Err(ClientError::NotFound { what, place: self.place.clone() });
            }
            _ => return Err(self.transport.failure(Method::GET, response).await),
        }
        self.next = next_page(self.transport, &url, response.headers())?;
        self.read(&url, &body).map(Some)
    }

    fn read(&self, url: &Url, body: &[u8]) -> Result<Vec<T>, ClientError> {
        let wrong = |what: String| ClientError::Answer { url: url.clone().into(), what };
        let mut page: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)
            .map_err(|_| wrong("the list is not the JSON that it should be".into()))?;
        // Some registries say null where there is nothing.
        let names: Option<Vec<String>> = match page.remove(self.field) {
            Some(value) => {
                serde_json::from_value(value).map_err(|_| wrong("the list holds no names".into()))?
            }
            None => None,
        };
        let parse = |name: String| {
            name.parse().map_err(|_| wrong(format!("the list holds `{}`, which is no name", shorten(&name))))
        };
        names.unwrap_or_default().into_iter().map(parse).collect()
    }

    /// All pages together, of at most `most` entries.
    pub async fn all(mut self, most: usize) -> Result<Vec<T>, ClientError> {
        let mut all = VecDeque::new();
        while let Some(page) = self.page().await? {
            all.extend(page);
            if all.len() > most {
                let what = format!("a list of more than the {most} entries that are read");
                return Err(ClientError::Answer { url: self.transport.url("").into(), what });
            }
        }
        Ok(all.into())
    }
}

/// The address of the page after `url`, if the headers link to one on the registry itself.
pub(crate) fn next_page(
    transport: &Transport,
    url: &Url,
    headers: &reqwest::header::HeaderMap,
) -> Result<Option<Url>, ClientError> {
    let Some(target) = headers::text(headers, "link").and_then(next_link) else { return Ok(None) };
    let next = transport.follow(url, target)?;
    let wrong = |why| ClientError::Redirect { from: url.clone().into(), to: next.clone().into(), why };
    if !transport.is_own(&next) {
        return Err(wrong("the next page of a list must be on the same registry"));
    }
    if next == *url {
        return Err(wrong("the page links to itself"));
    }
    Ok(Some(next))
}
