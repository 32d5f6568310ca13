//! Rows to domain types and back. A row that does not fit is an error that names table and key.

mod config;
mod listed;
mod lock;
mod object;
mod upload;
mod write;

use std::fmt::Display;
use std::str::FromStr;

use bytes::{BufMut, BytesMut};
use s3o_types::{Digest, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::row::RowIndex;
use tokio_postgres::types::{FromSql, IsNull, Json, ToSql, Type, to_sql_checked};

pub(crate) use config::{
    ConfigRows, bucket_state, lifecycle, limits_json, removal, rules_json, scope, spec_json,
};
pub(crate) use listed::{ListedColumns, listed};
pub(crate) use lock::{bucket_lock, lock_columns, lock_json, object_lock};
pub(crate) use object::{CopyRecord, ObjectRecord, object_json, told};
pub(crate) use upload::{CopiedRecord, OtherCopy, PartRecord, UploadRecord};
pub(crate) use write::{CleanupRecord, IntentRecord, int_array, text_array};

use crate::error::Failure;

/// The error of a row that this release cannot read.
pub(crate) fn corrupt(table: &str, key: impl Display, why: impl Display) -> Failure {
    Failure::Corrupt(format!("table {table}, row {key}: {why}"))
}

/// Reads columns of one row, by name or by place.
#[derive(Clone, Copy)]
pub(crate) struct Cells<'a>(pub(crate) &'a Row);

impl<'a> Cells<'a> {
    pub(crate) fn get<T: FromSql<'a>>(self, column: impl RowIndex + Display + Copy) -> Result<T, String> {
        self.0.try_get(column).map_err(|error| format!("column {column}: {error}"))
    }

    /// Bytes and counts, which are never negative.
    pub(crate) fn unsigned(self, column: impl RowIndex + Display + Copy) -> Result<u64, String> {
        let n: i64 = self.get(column)?;
        u64::try_from(n).map_err(|_| format!("column {column}: {n} is negative"))
    }

    pub(crate) fn optional_unsigned(self, column: &str) -> Result<Option<u64>, String> {
        let n: Option<i64> = self.get(column)?;
        n.map(|n| u64::try_from(n).map_err(|_| format!("column {column}: {n} is negative"))).transpose()
    }

    /// A word of an enum.
    pub(crate) fn word<T: FromStr<Err = String>>(self, column: &str) -> Result<T, String> {
        self.get::<&str>(column)?.parse()
    }

    /// A digest, by its length.
    pub(crate) fn digest(self, column: &str) -> Result<Option<Digest>, String> {
        let bytes: Option<&[u8]> = self.get(column)?;
        bytes.map_or(Ok(None), Digest::from_bytes).map_err(|error| format!("column {column}: {error}"))
    }

    /// A JSON document; the type's default where the column is NULL.
    pub(crate) fn json<T: serde::de::DeserializeOwned + Default>(
        self,
        column: impl RowIndex + Display + Copy,
    ) -> Result<T, String> {
        Ok(self.get::<Option<Json<T>>>(column)?.map(|Json(value)| value).unwrap_or_default())
    }

    pub(crate) fn time(self, column: impl RowIndex + Display + Copy) -> Result<Timestamp, String> {
        Ok(self.get::<PgTime>(column)?.0)
    }
}

/// A number of fifteen bits in a `smallint`.
pub(crate) fn small<T>(n: i16, of: impl Fn(u16) -> Option<T>) -> Result<T, String> {
    u16::try_from(n).ok().and_then(of).ok_or_else(|| format!("{n} is not within 15 bits"))
}

/// The same the other way: fifteen bits always fit.
pub(crate) fn fifteen_bits(n: u16) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

/// `timestamptz`, exact to the microsecond.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PgTime(pub(crate) Timestamp);

/// 2000-01-01T00:00:00Z, where PostgreSQL's binary time begins, in microseconds since 1970.
const PG_EPOCH_US: i64 = 946_684_800_000_000;

impl<'a> FromSql<'a> for PgTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let us = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(Timestamp(us.saturating_add(PG_EPOCH_US))))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

impl ToSql for PgTime {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_i64(self.0.0.saturating_sub(PG_EPOCH_US));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}
