//! The recovery mode. While it is on, the cleanup queue gives out nothing. And what makes it likely.

use async_trait::async_trait;
use s3o_core::ports::{PortError, Recovery};
use tokio_postgres::Transaction;

use crate::Store;

/// The number that a version drew: the first half of its id.
macro_rules! version_number {
    ($version:literal) => {
        concat!("('x' || left(replace(", $version, "::text, '-', ''), 16))::bit(64)::bigint")
    };
}
pub(crate) use version_number;

/// Whether a version was given out before the gap that the recovery mode has left in the numbers, of which one half is what
/// was lost; NULL: the mode is not on, or does not say where its gap is.
macro_rules! is_before_gap {
    ($version:literal) => {
        concat!(
            "(",
            $crate::recovery::version_number!($version),
            " < (SELECT (value->>'version_seq')::bigint + 2147483648 FROM settings WHERE name = 'recovery'))"
        )
    };
}
pub(crate) use is_before_gap;

/// Each connection notes which database it is on, so that no commit goes to another one unnoticed. Before the tables are
/// there, there is nothing to note.
pub(crate) const NOTE_DATABASE: &str = "
    DO $$ BEGIN
        IF to_regproc('note_database') IS NOT NULL THEN PERFORM note_database(); END IF;
    END $$;";

const WHY: &str = "SELECT value ->> 'why' AS why FROM settings WHERE name = 'recovery'";
const HOLDS_JOURNAL: &str = "
    SELECT EXISTS (SELECT FROM settings WHERE name = 'recovery' AND NOT value ? 'ships') AS holds";
const ENTER: &str = "SELECT enter_recovery($1)";
const PASS: &str =
    "SELECT leave_gap(($1::text::jsonb->>'change_seq')::bigint, ($1::text::jsonb->>'version_seq')::bigint)";
const LOOKED_AT: &str = "
    INSERT INTO settings (name, value) VALUES ('journal_looked_at', $1::text::jsonb)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE settings.value <> excluded.value";
const END: &str = "DELETE FROM settings WHERE name = 'recovery'";

const STANDBYS: &str = "SELECT current_setting('synchronous_standby_names') AS names";

impl Store {
    /// The standbys that a commit waits for, as the server is told to. Empty: none, and a failover may lose commits.
    pub async fn synchronous_standbys(&self) -> Result<String, PortError> {
        let rows = self.inner.general.run(STANDBYS, &[]).await?;
        Ok(rows.first().map(|row| row.get("names")).unwrap_or_default())
    }
}

#[async_trait]
impl Recovery for Store {
    async fn recovery(&self) -> Result<Option<String>, PortError> {
        let rows = self.inner.general.run(WHY, &[]).await?;
        Ok(rows.first().map(|row| row.get("why")))
    }

    async fn holds_journal(&self) -> Result<bool, PortError> {
        let rows = self.inner.general.run(HOLDS_JOURNAL, &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get("holds")))
    }

    async fn enter_recovery(&self, why: &str) -> Result<(), PortError> {
        self.inner.general.run(ENTER, &[&why]).await?;
        Ok(())
    }

    async fn pass_numbers(&self, header: &str) -> Result<(), PortError> {
        self.inner.general.run(PASS, &[&header]).await?;
        Ok(())
    }

    async fn journal_looked_at(&self, start: &str) -> Result<(), PortError> {
        self.inner.general.run(LOOKED_AT, &[&start]).await?;
        Ok(())
    }

    async fn server_start(&self) -> Result<String, PortError> {
        let rows = self.inner.general.run("SELECT server_start()::text AS start", &[]).await?;
        Ok(rows.first().map(|row| row.get("start")).unwrap_or_default())
    }

    async fn may_delete(&self) -> Result<bool, PortError> {
        let rows = self.inner.general.run("SELECT may_delete() AS may", &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get("may")))
    }

    async fn end_recovery(&self) -> Result<(), PortError> {
        let end = async |transaction: &Transaction<'_>| {
            self.inner.restore_run.goes_on(transaction).await?;
            transaction.execute(END, &[]).await?;
            Ok(())
        };
        Ok(self.inner.general.transact_once(end).await?)
    }
}
