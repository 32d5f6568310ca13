//! Why the store could not do something, and what PostgreSQL's own errors mean for us.
//!
//! Invariant: every error of the driver is sorted here, once, into what is to be done about it.

use s3o_core::ports::PortError;
use tokio_postgres::error::SqlState;

/// Why the store cannot be opened or migrated.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL or another option is wrong.
    #[error("the database configuration is wrong: {0}")]
    Config(String),
    /// It cannot be reached, or refuses for now.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// Its schema is older or newer than this release works with.
    #[error("the database has schema version {found}, this release works with {min} to {max}: {advice}")]
    Schema {
        /// What stands there.
        found: i32,
        /// The oldest that works.
        min: i32,
        /// The newest that works.
        max: i32,
        /// What to do.
        advice: &'static str,
    },
    /// A proxy hands transactions of one connection to different servers.
    #[error(
        "the database is behind a transaction-pooling proxy ({0}); locks and prepared statements need a \
         connection of their own: connect to PostgreSQL directly, or use session pooling"
    )]
    TransactionPooling(String),
    /// Too old a server.
    #[error("PostgreSQL {0} is too old: version 15 or newer is needed")]
    OldServer(String),
    /// A migration failed.
    #[error("the schema could not be migrated: {0}")]
    Migration(String),
    /// Rows that this release cannot read.
    #[error("{0}")]
    Corrupt(String),
    /// What is declared cannot be applied to what there is.
    #[error("the configuration cannot be applied: {0}")]
    Declaration(String),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Corrupt(why) => Self::Corrupt(why),
            Failure::Declaration(why) => Self::Declaration(why),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// What came of a statement or transaction that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection is gone or useless; what was sent may or may not have been done.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Somebody else holds a lock. Nothing was done.
    #[error("waiting for another transaction: {0}")]
    Locked(String),
    /// The server cannot at the moment. Nothing was done.
    #[error("the server is busy: {0}")]
    Busy(String),
    /// The server will not take these values. Nothing was done.
    #[error("{0}")]
    Data(Rejected),
    /// A row that this release cannot read.
    #[error("{0}")]
    Corrupt(String),
    /// What is declared cannot be applied to what there is.
    #[error("{0}")]
    Declaration(String),
    /// What a run has staged is no longer there.
    #[error("{0}")]
    Unstaged(&'static str),
    /// Our own code gave up.
    #[error("{0}")]
    Panicked(String),
}

/// Values that PostgreSQL refuses, or a statement that is wrong.
#[derive(Debug, Clone, thiserror::Error)]
#[error("PostgreSQL refused ({code}): {message} (table {table}, constraint {constraint})")]
pub(crate) struct Rejected {
    pub(crate) code: String,
    pub(crate) table: String,
    pub(crate) constraint: String,
    message: String,
}

impl Rejected {
    /// Class 22: a value that no row can hold. It is the request's.
    pub(crate) fn is_bad_value(&self) -> bool {
        self.code.starts_with("22")
    }

    /// Two writers of one row: the second sees the first's row when it tries again.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.code == SqlState::UNIQUE_VIOLATION.code()
    }
}

impl Failure {
    /// Whether the same statement may succeed on a new try.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Locked(_) | Self::Busy(_))
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => sort(db),
            None if is_local(&error) => Self::Data(Rejected {
                code: String::new(),
                table: String::new(),
                constraint: String::new(),
                message: error.to_string(),
            }),
            None => Self::Lost(with_causes(&error)),
        }
    }
}

/// Errors made on our side, before anything was sent: parameters that do not fit their types.
fn is_local(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("error serializing parameter") || text.starts_with("error encoding message")
}

fn sort(db: &tokio_postgres::error::DbError) -> Failure {
    let code = db.code();
    // As the server ends the sentence in which it refuses a connection by `pg_hba.conf`.
    let hint =
        if db.message().ends_with("no encryption") { "; does the server want TLS? See sslmode" } else { "" };
    let text = format!("{} ({}){hint}", db.message(), code.code());
    let locked =
        [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    // A read-only server is a standby: the primary is elsewhere now. A cached plan that does not fit any
    // more, or a missing statement, is cured by a new connection.
    let elsewhere = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    if locked.contains(code) {
        return Failure::Locked(text);
    }
    if elsewhere.contains(code) {
        return Failure::Lost(text);
    }
    match &code.code()[..2] {
        "57" if *code == SqlState::QUERY_CANCELED => Failure::Busy(text),
        // Connection exceptions; shutdown, crash and start of the server.
        "08" | "28" | "57" => Failure::Lost(text),
        // Out of memory, disk, connections; I/O errors.
        "53" | "58" | "25" => Failure::Busy(text),
        _ => Failure::Data(Rejected {
            code: code.code().to_owned(),
            table: db.table().unwrap_or("?").to_owned(),
            constraint: db.constraint().unwrap_or("?").to_owned(),
            message: db.message().to_owned(),
        }),
    }
}

fn with_causes(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Corrupt(why) => Self::Corrupt(why),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
