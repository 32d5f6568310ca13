//! Whether a backend's journal is ahead of the database: then the database was restored to an earlier point, or failed over
//! without its last commits.
//!
//! Invariant: what is believed is a file whose number the database has not given out yet; a backend that does not answer says
//! nothing.

use std::time::Duration;

use futures::future::join_all;
use s3o_backend::Backend;
use s3o_blob::journal::{JournalFile, JournalName, JournalPart};
use s3o_core::journal::JournalState;
use s3o_types::storage_key::JOURNAL_PREFIX;

use super::{JournalWorker, read_file, text};

/// How long a listing may take that a tick waits for.
const PATIENCE: Duration = Duration::from_secs(10);

impl JournalWorker {
    /// Turns the recovery mode on where the journal has more than the database knows of.
    pub(super) async fn look_ahead(&self, state: &JournalState) -> Result<(), String> {
        let known = self.journal.journal_keys(state.segment).await.map_err(text)?;
        let all = self.files.backends();
        let looks = all.iter().map(|backend| newest_behind(backend, state.segment, &known));
        for (backend, found) in all.iter().zip(join_all(looks).await) {
            let Some(newest) = found else { continue };
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
        Ok(())
    }
}

/// The last segment from `segment` on that is not known; `None`: there is none, or nobody can say. A process that died between
/// a PUT and its step left the file's row.
async fn newest_behind(backend: &Backend, segment: u64, known: &[String]) -> Option<JournalName> {
    // Names sort by their numbers: what comes before is not asked for.
    let before = format!("{JOURNAL_PREFIX}segment-{:012}~", segment.saturating_sub(1));
    let prefix = format!("{JOURNAL_PREFIX}segment-");
    let page = tokio::time::timeout(PATIENCE, backend.list(&prefix, Some(&before), 1000)).await.ok()?.ok()?;
    let unknown = page.entries.iter().filter(|entry| !known.contains(&entry.key));
    let names = unknown.filter_map(|entry| JournalName::parse(&entry.key));
    names.filter(|name| name.part == JournalPart::Segment).max()
}
