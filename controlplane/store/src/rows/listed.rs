//! Objects as a page of a listing has them: a thousand rows of the same columns.

use std::fmt;

use s3o_core::listing::ListedObject;
use s3o_types::Etag;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use tokio_postgres::Row;

use super::{Cells, corrupt};
use crate::error::Failure;

/// Where a statement's rows have what is listed: names are looked up once for a page.
pub(crate) struct ListedColumns {
    key: usize,
    size: usize,
    etag: usize,
    modified: usize,
    checksums: usize,
    storage_class: usize,
    /// Where keys can be rolled up.
    common: Option<usize>,
}

/// A page's entries, each made by `entry`. A row that does not fit is named by its table and key.
pub(crate) fn listed<T>(
    table: &str,
    rows: &[Row],
    entry: impl Fn(&ListedColumns, Cells<'_>) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let bad = |row, why| corrupt(table, Cells(row).get::<String>("key").unwrap_or_default(), why);
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns = ListedColumns::of(first).map_err(|why| bad(first, why))?;
    rows.iter().map(|row| entry(&columns, Cells(row)).map_err(|why| bad(row, why))).collect()
}

impl ListedColumns {
    /// By the names that a row's columns have.
    fn of(row: &Row) -> Result<Self, String> {
        let find = |name: &str| row.columns().iter().position(|column| column.name() == name);
        let found = |name: &str| find(name).ok_or_else(|| format!("column {name}: there is none"));
        Ok(Self {
            key: found("key")?,
            size: found("size")?,
            etag: found("etag")?,
            modified: found("modified")?,
            checksums: found("checksums")?,
            storage_class: found("storage_class")?,
            common: find("common"),
        })
    }

    /// What stands in the place of keys, if the row is that.
    pub(crate) fn common(&self, cells: Cells<'_>) -> Result<Option<String>, String> {
        self.common.map_or(Ok(None), |column| cells.get(column))
    }

    /// The row's object.
    pub(crate) fn object(&self, cells: Cells<'_>) -> Result<ListedObject, String> {
        let Names(checksum_algorithms) = cells.json(self.checksums)?;
        let storage_class: Option<String> = cells.get(self.storage_class)?;
        Ok(ListedObject {
            key: cells.get(self.key)?,
            size: cells.unsigned(self.size)?,
            etag: Etag::new(cells.get(self.etag)?),
            modified: cells.time(self.modified)?,
            storage_class: storage_class.unwrap_or_default(),
            checksum_algorithms,
        })
    }
}

/// The names alone of what is stored as [`s3o_types::Checksums`].
#[derive(Debug, Default, PartialEq, Eq)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMap)
    }
}

struct OfMap;

impl<'de> Visitor<'de> for OfMap {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("checksums by the names of their algorithms")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_values_are_not() {
        let read = |json: &str| serde_json::from_str::<Names>(json).ok().map(|Names(names)| names);
        assert_eq!(read(r#"{"crc32":"AAAAAA==","sha1":"x"}"#), Some(vec!["crc32".into(), "sha1".into()]));
        assert_eq!(read("{}"), Some(Vec::new()));
        assert_eq!(read("[]"), None);
    }
}
