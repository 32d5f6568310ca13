//! Objects as a page of a listing has them: a thousand rows of the same columns.

use std::collections::BTreeMap;

use s3o_core::listing::ListedObject;
use s3o_types::Etag;
use serde::de::IgnoredAny;
use tokio_postgres::Row;

use super::Cells;

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

impl ListedColumns {
    /// By the names that a row's columns have.
    pub(crate) fn of(row: &Row) -> Result<Self, String> {
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
        // As `Checksums` has them; the values are not needed.
        let checksums: BTreeMap<String, IgnoredAny> = cells.json(self.checksums)?;
        let storage_class: Option<String> = cells.get(self.storage_class)?;
        Ok(ListedObject {
            key: cells.get(self.key)?,
            size: cells.unsigned(self.size)?,
            etag: Etag::new(cells.get(self.etag)?),
            modified: cells.time(self.modified)?,
            storage_class: storage_class.unwrap_or_default(),
            checksum_algorithms: checksums.into_keys().collect(),
        })
    }
}
