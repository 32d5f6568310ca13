//! Rows that this release cannot read: a newer one wrote them, or something went wrong.
//!
//! Invariant: such a row holds up no pass over its table. It is left alone, told in the log, counted, and passed by its
//! place, which needs no more of it than its key.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio_postgres::Row;

use crate::rows::{Cells, corrupt};

/// How many were met, by table, since the start of the process. One that is met again counts again.
#[derive(Debug, Default)]
pub(crate) struct Unreadable(Mutex<BTreeMap<&'static str, u64>>);

impl Unreadable {
    /// A row of a table, if it can be read.
    pub(crate) fn read<T>(
        &self,
        row: &Row,
        table: &'static str,
        read: impl Fn(Cells<'_>) -> Result<T, String>,
    ) -> Option<T> {
        match read(Cells(row)) {
            Ok(read) => Some(read),
            Err(why) => {
                tracing::error!(error = %corrupt(table, "a row", why), "left alone");
                *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(table).or_default() += 1;
                None
            }
        }
    }

    /// The rows of a page that can be read.
    pub(crate) fn pass<T>(
        &self,
        rows: &[Row],
        table: &'static str,
        read: impl Fn(Cells<'_>) -> Result<T, String>,
    ) -> Vec<T> {
        rows.iter().filter_map(|row| self.read(row, table, &read)).collect()
    }

    /// By table.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
