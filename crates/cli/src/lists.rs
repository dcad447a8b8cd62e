//! `wharf tags` and `wharf repos`: lists that may be long, printed as they come.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::Result;
use client::{List, Remote, Repository};

use crate::args::{ReposFlags, TagsFlags};
use crate::out::Out;

pub(crate) async fn tags(flags: TagsFlags, out: &mut Out) -> Result<()> {
    let settings = flags.connect.settings();
    let repository = Repository::open(&flags.repository.host, &flags.repository.repository, &settings)?;
    print(repository.tags(), flags.json, out).await
}

pub(crate) async fn repositories(flags: ReposFlags, out: &mut Out) -> Result<()> {
    let registry = Remote::open(&flags.registry, &flags.connect.settings())?;
    print(registry.repositories(), flags.json, out).await
}

/// A line for each entry, or one JSON array.
async fn print<T: FromStr + Display>(mut list: List<'_, T>, json: bool, out: &mut Out) -> Result<()> {
    let mut before = "[";
    while let Some(page) = list.page().await? {
        for entry in page {
            if json {
                out.bytes(format!("{before}{}", serde_json::Value::from(entry.to_string())).as_bytes())?;
                before = ",";
            } else {
                out.line(entry)?;
            }
        }
    }
    if json {
        out.line(if before == "[" { "[]" } else { "]" })?;
    }
    out.finish()
}
