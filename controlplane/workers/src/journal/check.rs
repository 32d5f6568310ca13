//! Looks whether stored files are still there, and whole.
//!
//! Invariants: nothing is believed but what two looks have seen, with the backend's marker ours after them; what is gone or
//! wrong counts no more, so that its other copy is copied again, to another backend.

use std::sync::Arc;

use s3o_backend::{Backend, BackendErrorKind};
use s3o_blob::journal::JournalFile;
use s3o_core::journal::StoredFile;
use s3o_core::worker::Counts;
use s3o_runtime::audit;

use super::files::{Files, read_file};
use super::text;

/// Each stored file is read once in this time: what it costs is the size of the journal, a week.
const EVERY_US: i64 = 7 * 24 * 60 * 60 * 1_000_000;
/// Files in a tick.
const AT_ONCE: u32 = 20;

enum Bad {
    Gone,
    Rotten(String),
}

impl Files {
    /// Looks at some.
    pub(super) async fn check(&self, counts: &mut Counts) -> Result<(), String> {
        for file in self.journal.journal_checks(EVERY_US, AT_ONCE).await.map_err(text)? {
            match self.look(&file).await {
                Ok(None) => *counts.entry("checked".to_owned()).or_default() += 1,
                Ok(Some(bad)) => {
                    *counts.entry("bad".to_owned()).or_default() += 1;
                    self.forget(&file, bad).await?;
                }
                // It counts as looked at: a backend that is down for a week is the operator's to see.
                Err(error) => {
                    tracing::debug!(
                        file = file.storage_key,
                        error,
                        "a file of the journal was not looked at"
                    );
                }
            }
        }
        Ok(())
    }

    /// What is wrong with a file, if two looks say the same. `Err`: not known.
    async fn look(&self, file: &StoredFile) -> Result<Option<Bad>, String> {
        let backend = self.gate.open(file.backend).await?;
        let Some(bad) = self.look_once(&backend, file).await? else { return Ok(None) };
        if self.look_once(&backend, file).await?.is_none() {
            return Ok(None);
        }
        self.gate.confirm(&backend).await?;
        Ok(Some(bad))
    }

    async fn look_once(&self, backend: &Arc<Backend>, file: &StoredFile) -> Result<Option<Bad>, String> {
        match backend.head(&file.storage_key).await {
            Ok(_) => {}
            Err(error) if error.kind == BackendErrorKind::NotFound => return Ok(Some(Bad::Gone)),
            Err(error) => return Err(error.to_string()),
        }
        let bytes = read_file(backend, &file.storage_key).await?;
        Ok(JournalFile::read(&bytes).err().map(|error| Bad::Rotten(error.to_string())))
    }

    async fn forget(&self, file: &StoredFile, bad: Bad) -> Result<(), String> {
        let (backend, key) = (file.backend.0, file.storage_key.as_str());
        let why = match &bad {
            Bad::Gone => "it is gone",
            Bad::Rotten(why) => why,
        };
        tracing::error!(backend, key, why, "a file of the journal is not what was stored");
        audit!("journal.file_bad", backend, key, why);
        match bad {
            Bad::Gone => self.journal.journal_file_gone(file.backend, key).await.map_err(text),
            // Not deleted at once: it is among the chores, when it has not counted for a while.
            Bad::Rotten(_) => self.journal.journal_file_bad(file.backend, key).await.map_err(text),
        }
    }
}
