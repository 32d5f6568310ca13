//! What must hold once everything has settled.
//!
//! | check | how |
//! |---|---|
//! | every key is linearizable | the history, with a last read and a last listing of every key in it |
//! | every acknowledged version is there | listed with its ETag, in buckets that keep versions, unless somebody asked for its deletion |
//! | own versions are what they were | each is read whole by its id; what was acknowledged as deleted is neither listed nor found; a GET says what the listing calls the latest |
//! | tags | of own objects, against the changes that were acknowledged or never answered |
//! | every object is whole on as many copies as its bucket wants | each copy's bytes against what was written |
//! | no blob without a row, no row without a blob; counters agree with rows | the audit of every integration test |
//! | nothing is reserved | sums of `backend_usage` |
//! | nobody took the database for an earlier one | the recovery mode is off: no database was restored |
//! | usage counters | [`usage`] |
//! | the journal and the backends have everything | [`rebuild()`]: a second database, made again from them, against the one that there is |
//! | no process ended by itself, no request was refused without a reason | what was noted meanwhile |
//!
//! Invariant: the checks change nothing that the next check looks at, and all of them are made.

mod history;
mod own;
mod rebuild;
mod tags;
mod usage;
mod versions;
mod whole;

use std::collections::BTreeSet;

use anyhow::Result;

use super::field::Field;
use crate::audit;

pub use history::read_everything;
pub use rebuild::Rebuilt;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// What.
    pub what: String,
    /// The key whose history explains it, as the history has it.
    pub key: Option<String>,
}

impl Violation {
    pub(super) fn new(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, what: what.into(), key: None }
    }
}

/// Blobs that were damaged and that a row still names: by backend and storage key.
pub type Unrepaired = BTreeSet<(String, String)>;

/// Makes every check but that of usage counters, which needs traffic of its own, and the rebuild, which comes last.
pub async fn all(field: &Field) -> Result<Vec<Violation>> {
    let damaged: Unrepaired = unrepaired(field).await?;
    let mut found = history::check(&field.board.recorder.events());
    found.extend(versions::check(field).await?);
    found.extend(tags::check(field).await?);
    found.extend(whole::check(field, &damaged).await?);
    if let Err(error) = audit::audit_but(&field.cluster, &damaged).await {
        found.push(Violation::new("accounting", format!("{error:#}")));
    }
    found.extend(nothing_reserved(field).await?);
    found.extend(recovery_mode(field).await?);
    found.extend(field.ended.iter().map(|ended| Violation::new("processes", ended)));
    let refusals = field.board.refusals();
    found.extend(refusals.iter().map(|(kind, what)| Violation::new("refusals", format!("{kind}: {what}"))));
    Ok(found)
}

/// Usage counters: a measured burst after everything.
pub async fn usage(field: &Field) -> Result<Vec<Violation>> {
    usage::check(field).await
}

/// Makes the database again from the backends, after `Campaign::close_journal`. What was not shipped is a difference.
pub async fn rebuild(field: &Field) -> Result<Rebuilt> {
    rebuild::check(field).await
}

/// Damage that nothing has found yet. What was found is replaced, and no exception is made for it.
pub async fn unrepaired(field: &Field) -> Result<Unrepaired> {
    let named = audit::copy_keys(&field.cluster).await?;
    let damage = field.board.damage().into_iter().map(|damage| (damage.backend, damage.storage_key));
    Ok(damage.filter(|place| named.contains(place)).collect())
}

async fn recovery_mode(field: &Field) -> Result<Option<Violation>> {
    let sql = field.cluster.sql().await?;
    let on = sql.query_opt("SELECT value ->> 'why' FROM settings WHERE name = 'recovery'", &[]).await?;
    Ok(on.map(|row| Violation::new("recovery mode", row.get::<_, String>(0))))
}

async fn nothing_reserved(field: &Field) -> Result<Vec<Violation>> {
    let sql = field.cluster.sql().await?;
    let query = "SELECT k.name, sum(u.reserved)::bigint,
                        sum(u.orphaned)::bigint
                            - COALESCE((SELECT sum(size) FROM cleanup_dlq d WHERE d.backend = k.id), 0)::bigint
                 FROM backend_usage u JOIN backends k ON k.id = u.backend GROUP BY k.id, k.name ORDER BY k.name";
    let mut found = Vec::new();
    for row in sql.query(query, &[]).await? {
        let (name, reserved, orphaned): (&str, i64, i64) = (row.get(0), row.get(1), row.get(2));
        if (reserved, orphaned) != (0, 0) {
            let what =
                format!("{name}: {reserved} bytes reserved, {orphaned} orphaned and not dead-lettered");
            found.push(Violation::new("quota", what));
        }
    }
    Ok(found)
}
