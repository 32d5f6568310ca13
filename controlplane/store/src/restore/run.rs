//! One run at a time has what is staged.
//!
//! Invariant: nothing is applied, and the recovery mode does not end, by a run whose staging is gone: another run has begun
//! since, in this process or in another one, or the server was started anew and has lost what is not logged.

use std::sync::{Mutex, PoisonError};

use tokio_postgres::Transaction;
use uuid::Uuid;

use crate::error::Failure;
use crate::pool::Pool;

const BEGIN: &str = "INSERT INTO restore_run (id) VALUES ($1)";

/// Whoever begins another run waits until this one's transaction has ended.
const GOES_ON: &str = "SELECT FROM restore_run WHERE id = $1 FOR SHARE";

/// The run that this process has begun last.
#[derive(Debug, Default)]
pub(crate) struct RestoreRun(Mutex<Uuid>);

impl RestoreRun {
    pub(super) async fn begin(&self, pool: &Pool) -> Result<(), Failure> {
        let id = Uuid::new_v4();
        let begin = async |transaction: &Transaction<'_>| {
            transaction.batch_execute("TRUNCATE restore_run, restore_events, restore_blobs").await?;
            transaction.execute(BEGIN, &[&id]).await?;
            Ok(())
        };
        pool.transact_once(begin).await?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id;
        Ok(())
    }

    /// Holds whoever would begin another run up until the transaction ends.
    pub(crate) async fn goes_on(&self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        let id = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match transaction.query_opt(GOES_ON, &[&id]).await? {
            Some(_) => Ok(()),
            None => Err(Failure::Unstaged(
                "what was staged is gone: another run has begun, or the database's server was started anew; begin again",
            )),
        }
    }
}
