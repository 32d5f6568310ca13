//! Whether a backend's journal is ahead of the database: then the database was restored to an earlier point, or failed over
//! without its last commits.
//!
//! Invariants: what is believed is a file whose number the database has not given out yet, which is looked at after the file
//! was seen: a process that has taken the journal over ships meanwhile. A backend that does not answer says nothing, nor does one
//! that shows no marker of ours: an edited endpoint or a folder that is not mounted has no journal, or another one's. Nobody has
//! looked before all have answered that have the journal, as far as the database knows: a file may have one copy only. Until then
//! nothing is shipped either: it would have the number of a file that is not seen, and whoever got it would be one that has the
//! journal.

use std::time::Duration;

use futures::future::join_all;
use s3o_backend::Backend;
use s3o_blob::journal::{JournalFile, JournalName, JournalPart};
use s3o_core::journal::JournalState;
use s3o_types::storage_key::JOURNAL_PREFIX;
use uuid::Uuid;

use super::{JournalWorker, TAKEN_OVER, read_file, text};

/// How long a backend may take, to show its marker and to list, that a tick waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a backend has told of its journal.
struct Told {
    /// Its marker is its own, and not that of another one of ours.
    is_itself: bool,
    keys: Vec<String>,
}

impl JournalWorker {
    /// Turns the recovery mode on where the journal has more than the database knows of. `owner` has the journal, and `start` is
    /// when the database's server had been started before that was so. `Err`: it is ahead, or nobody knows.
    pub(super) async fn look_ahead(
        &self,
        state: &JournalState,
        owner: Uuid,
        start: &str,
    ) -> Result<(), String> {
        let holders = self.journal.journal_backends().await.map_err(text)?;
        let all = self.files.backends();
        let listed = join_all(all.iter().map(|backend| self.segments_from(backend, state.segment))).await;
        // Their rows come before they do, so that what is not known by now is none of this database's.
        let known = self.journal.journal_keys(state.segment).await.map_err(text)?;
        // Of those that have the journal, as far as is known: where none is, whatever one says must do.
        let knows_any = all.iter().any(|backend| holders.contains(&backend.id()));
        let asked = all.iter().zip(&listed);
        let asked = asked.filter(|(backend, _)| !knows_any || holders.contains(&backend.id()));
        let (answered, silent): (Vec<_>, Vec<_>) =
            asked.partition(|(_, told)| told.as_ref().is_some_and(|told| told.is_itself));
        let has_looked =
            if knows_any { silent.is_empty() } else { !answered.is_empty() || self.is_new().await? };
        let silent: Vec<String> = silent.iter().map(|(backend, _)| backend.name().to_owned()).collect();
        for (backend, told) in all.iter().zip(listed) {
            let keys = told.map(|told| told.keys).unwrap_or_default();
            let Some(newest) = newest_unknown(&keys, &known) else { continue };
            self.is_still(state, owner).await?;
            let (name, next, number) = (backend.name(), state.segment, newest.number);
            let why = format!(
                "{name} has segment {number} of the journal, and the database would ship {next} next"
            );
            self.recovery.enter_recovery(&why).await.map_err(text)?;
            // However far its numbers were: what is written from now on is behind all that was lost.
            let file = read_file(backend, &newest.to_string()).await?;
            let file = JournalFile::read(&file).map_err(|error| format!("{name}: {newest}: {error}"))?;
            self.recovery.pass_numbers(&file.header).await.map_err(text)?;
            return Err(format!("recovery mode: {why}; nothing is deleted or shipped until `s3o recover`"));
        }
        if has_looked {
            return self.recovery.journal_looked_at(start).await.map_err(text);
        }
        // Somebody may have looked before they fell silent.
        if self.recovery.may_delete().await.map_err(text)? {
            return Ok(());
        }
        Err(format!(
            "nothing is shipped or deleted before it can be asked whether the journal there is ahead of the database: {} (no answer, \
             or no marker of ours)",
            silent.join(", ")
        ))
    }

    /// The keys of the segments from `segment` on; `None`: the backend does not answer, or nobody knows that it is ours.
    async fn segments_from(&self, backend: &Backend, segment: u64) -> Option<Told> {
        // Names sort by their numbers: what comes before is not asked for.
        let before = format!("{JOURNAL_PREFIX}segment-{:012}~", segment.saturating_sub(1));
        let prefix = format!("{JOURNAL_PREFIX}segment-");
        let asked = async {
            let is_itself = self.files.gate.is_itself(backend).await?;
            let page = backend.list(&prefix, Some(&before), 1000).await.ok()?;
            Some(Told { is_itself, keys: page.entries.into_iter().map(|entry| entry.key).collect() })
        };
        tokio::time::timeout(PATIENCE, asked).await.ok()?
    }

    /// Whether there is nothing yet that anything could be ahead of: no backend has shown its marker, and none stores anything.
    async fn is_new(&self) -> Result<bool, String> {
        if !self.files.gate.has_none() {
            return Ok(false);
        }
        let usage = self.overview.backend_usage().await.map_err(text)?;
        Ok(usage.iter().all(|(_, usage, _)| usage.total() == 0 && usage.objects == 0))
    }

    /// Whether the journal is where it was, and ours: rows of files that were shipped and let go meanwhile may be gone.
    async fn is_still(&self, state: &JournalState, owner: Uuid) -> Result<(), String> {
        let now = self.claim(owner).await?;
        let is_still = now.is_some_and(|now| now.segment == state.segment);
        if is_still { Ok(()) } else { Err(TAKEN_OVER.to_owned()) }
    }
}

/// The last segment that is not known. A process that died between a PUT and its step left the file's row.
fn newest_unknown(keys: &[String], known: &[String]) -> Option<JournalName> {
    let unknown = keys.iter().filter(|key| !known.contains(key));
    let names = unknown.filter_map(|key| JournalName::parse(key));
    names.filter(|name| name.part == JournalPart::Segment).max()
}
