//! The thin layer between queries and rusqlite: values in, rows out, statements prepared once.
//!
//! Query modules name nothing of rusqlite, so that a second executor can run the same texts. Placeholders are
//! `?1`; PostgreSQL wants `$1`, a replacement of one character. (SQLite takes `$1` too, but as a name: it numbers
//! such placeholders in the order in which they stand in the text.)

use std::ops::ControlFlow;

use blob::BlobId;
use meta::{EntryKind, EntryName, RepositoryKind, Timestamp};
use oci::{Digest, MediaType, ProjectName, RepoName, Tag};
use rusqlite::types::{ToSqlOutput, Value as OwnedValue, ValueRef};
use rusqlite::{CachedStatement, Connection, Rows, ToSql, params_from_iter};

use crate::error::{Result, damaged, explain};

/// A value for a placeholder.
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Stored(Vec<u8>),
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(OwnedValue::Null),
            Self::Int(value) => ToSqlOutput::Owned(OwnedValue::Integer(*value)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Stored(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Int(time.micros())
    }
}

impl From<&Digest> for Value<'_> {
    fn from(digest: &Digest) -> Self {
        Self::Stored(digest.to_stored())
    }
}

impl<'a> From<&'a BlobId> for Value<'a> {
    fn from(id: &'a BlobId) -> Self {
        Self::Bytes(id.as_bytes())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a RepoName> for Value<'a> {
    fn from(name: &'a RepoName) -> Self {
        Self::Text(name.as_str())
    }
}

impl<'a> From<&'a ProjectName> for Value<'a> {
    fn from(name: &'a ProjectName) -> Self {
        Self::Text(name.as_str())
    }
}

impl From<EntryKind> for Value<'_> {
    fn from(kind: EntryKind) -> Self {
        Self::Text(kind.name())
    }
}

impl<'a> From<&'a EntryName> for Value<'a> {
    fn from(name: &'a EntryName) -> Self {
        Self::Text(name.as_str())
    }
}

impl<'a> From<&'a Tag> for Value<'a> {
    fn from(tag: &'a Tag) -> Self {
        Self::Text(tag.as_str())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A count or limit as SQL knows it.
pub(crate) fn count(number: usize) -> Value<'static> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A size as SQL knows it. Nothing that can be stored is too large for it.
pub(crate) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// One row of an answer; columns are read by their number.
pub(crate) struct Row<'a>(&'a rusqlite::Row<'a>);

impl<'a> Row<'a> {
    fn column(&self, at: usize) -> Result<ValueRef<'a>> {
        self.0.get_ref(at).map_err(|_| damaged("a column that is not there"))
    }

    pub(crate) fn int_or_null(&self, at: usize) -> Result<Option<i64>> {
        match self.column(at)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => Ok(Some(value)),
            _ => Err(damaged("a number")),
        }
    }

    pub(crate) fn text_or_null(&self, at: usize) -> Result<Option<&'a str>> {
        match self.column(at)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => std::str::from_utf8(text).map(Some).map_err(|_| damaged("a text")),
            _ => Err(damaged("a text")),
        }
    }

    pub(crate) fn digest_or_null(&self, at: usize) -> Result<Option<Digest>> {
        match self.column(at)? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => Digest::from_stored(bytes).map(Some).ok_or_else(|| damaged("a digest")),
            _ => Err(damaged("a digest")),
        }
    }

    pub(crate) fn bytes(&self, at: usize) -> Result<&'a [u8]> {
        match self.column(at)? {
            ValueRef::Blob(bytes) => Ok(bytes),
            _ => Err(damaged("a row of bytes")),
        }
    }

    pub(crate) fn int(&self, at: usize) -> Result<i64> {
        self.int_or_null(at)?.ok_or_else(|| damaged("a number"))
    }

    pub(crate) fn flag(&self, at: usize) -> Result<bool> {
        Ok(self.int(at)? != 0)
    }

    /// A count or size: never negative.
    pub(crate) fn number(&self, at: usize) -> Result<u64> {
        u64::try_from(self.int(at)?).map_err(|_| damaged("a count"))
    }

    pub(crate) fn text(&self, at: usize) -> Result<&'a str> {
        self.text_or_null(at)?.ok_or_else(|| damaged("a text"))
    }

    pub(crate) fn digest(&self, at: usize) -> Result<Digest> {
        self.digest_or_null(at)?.ok_or_else(|| damaged("a digest"))
    }

    pub(crate) fn blob_id(&self, at: usize) -> Result<BlobId> {
        BlobId::from_stored(self.bytes(at)?).ok_or_else(|| damaged("the id of an object"))
    }

    pub(crate) fn repository(&self, at: usize) -> Result<RepoName> {
        self.text(at)?.parse().map_err(|_| damaged("the name of a repository"))
    }

    pub(crate) fn repository_kind(&self, at: usize) -> Result<RepositoryKind> {
        RepositoryKind::from_name(self.text(at)?).ok_or_else(|| damaged("the kind of a repository"))
    }

    pub(crate) fn entry_kind(&self, at: usize) -> Result<EntryKind> {
        EntryKind::from_name(self.text(at)?).ok_or_else(|| damaged("the kind of an entry"))
    }

    pub(crate) fn entry_name(&self, at: usize) -> Result<EntryName> {
        self.text(at)?.parse().map_err(|_| damaged("the name of an entry"))
    }

    pub(crate) fn tag(&self, at: usize) -> Result<Tag> {
        self.tag_or_null(at)?.ok_or_else(|| damaged("a tag"))
    }

    pub(crate) fn tag_or_null(&self, at: usize) -> Result<Option<Tag>> {
        self.text_or_null(at)?.map(str::parse).transpose().map_err(|_| damaged("a tag"))
    }

    pub(crate) fn media_type(&self, at: usize) -> Result<MediaType> {
        self.text(at)?.parse().map_err(|_| damaged("a media type"))
    }

    pub(crate) fn time(&self, at: usize) -> Result<Timestamp> {
        self.int(at).map(Timestamp::from_micros)
    }
}

/// A connection, and what it is being used for.
#[derive(Clone, Copy)]
pub(crate) struct Db<'a> {
    connection: &'a Connection,
    action: &'static str,
}

impl<'a> Db<'a> {
    pub(crate) const fn new(connection: &'a Connection, action: &'static str) -> Self {
        Self { connection, action }
    }

    /// Calls `read` for each row until it breaks.
    pub(crate) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut statement = self.prepare(sql)?;
        let mut rows = self.query(&mut statement, values)?;
        while let Some(row) = rows.next().map_err(|error| explain(self.action, &error))? {
            if read(Row(row))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = self.query(&mut statement, values)?;
        rows.next().map_err(|error| explain(self.action, &error))?.map(|row| read(Row(row))).transpose()
    }

    /// The row that this query always gives.
    pub(crate) fn only<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.first(sql, values, read)?.ok_or_else(|| damaged("a row that is always there"))
    }

    /// All rows; the query has a limit.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.each(sql, values, |row| {
            found.push(read(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Changes rows, and says how many.
    pub(crate) fn run(&self, sql: &str, values: &[Value<'_>]) -> Result<usize> {
        self.prepare(sql)?.execute(params_from_iter(values)).map_err(|error| explain(self.action, &error))
    }

    /// Runs an `INSERT ... RETURNING id`. To its end: only there are foreign keys checked.
    pub(crate) fn insert(&self, sql: &str, values: &[Value<'_>]) -> Result<i64> {
        self.all(sql, values, |row| row.int(0))?.pop().ok_or_else(|| damaged("the row just written"))
    }

    /// Lets several queries see the same state.
    pub(crate) fn snapshot<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let transaction =
            self.connection.unchecked_transaction().map_err(|error| explain(self.action, &error))?;
        let found = read()?;
        transaction.rollback().map_err(|error| explain(self.action, &error))?;
        Ok(found)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql).map_err(|error| explain(self.action, &error))
    }

    fn query<'s>(&self, statement: &'s mut CachedStatement<'a>, values: &[Value<'_>]) -> Result<Rows<'s>> {
        statement.query(params_from_iter(values)).map_err(|error| explain(self.action, &error))
    }
}
