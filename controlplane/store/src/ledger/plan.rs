//! A flight that reads: each of its statements says what its rows are.

use super::facts::Read;
use super::flight::{Flight, Param};
use super::intake::take;
use crate::connection::Connection;
use crate::error::Failure;
use crate::rows::Cells;

/// Which statements a flight has, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Nothing,
    Locks,
    Held,
    Intents,
    Calls,
    Uploads,
    Parts,
    Attempts,
    Sums,
    Extents,
    Versions,
    Scopes,
    Buckets,
    Named,
    Places,
    Found,
    Overtaken,
    Lifecycle,
    Standing,
    Removals,
    Numbers,
    Usage,
}

/// A flight, and what the rows of each of its statements are.
pub(super) struct Plan<'a> {
    flight: Flight<'a>,
    parts: Vec<Part>,
}

impl<'a> Plan<'a> {
    pub(super) const fn new(connection: &'a Connection) -> Self {
        Self { flight: Flight::new(connection), parts: Vec::new() }
    }

    /// Waits for the answers and takes them in.
    pub(super) async fn land(self, read: &mut Read) -> Result<(), Failure> {
        let answers = self.flight.land().await?;
        for (part, rows) in self.parts.into_iter().zip(&answers) {
            for row in rows {
                if let Err(broken) = take(read, part, Cells(row)) {
                    read.broken.push(broken);
                }
            }
        }
        Ok(())
    }

    pub(super) async fn add(
        &mut self,
        part: Part,
        sql: &'static str,
        params: Vec<Param>,
    ) -> Result<(), Failure> {
        self.flight.add(sql, params).await?;
        self.parts.push(part);
        Ok(())
    }

    pub(super) async fn text(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.flight.add_text(sql).await?;
        self.parts.push(Part::Nothing);
        Ok(())
    }
}
