//! Looks whether stored files are still there, and whole.
//!
//! Invariants: an absence is believed only where the backend's marker is ours after it; what is found to be gone or wrong
//! has no row any more, so that its other copy is copied again; a file of which no copy is left asks for a snapshot.

use s3o_backend::BackendErrorKind;
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
    /// Looks at some; says whether one is lost of which there is no other copy.
    pub(super) async fn check(&self, counts: &mut Counts) -> Result<bool, String> {
        let mut is_lost = false;
        for file in self.journal.journal_checks(EVERY_US, AT_ONCE).await.map_err(text)? {
            match self.look(&file).await {
                Ok(None) => *counts.entry("checked".to_owned()).or_default() += 1,
                Ok(Some(bad)) => {
                    *counts.entry("bad".to_owned()).or_default() += 1;
                    is_lost |= self.forget(&file, bad).await?;
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
        Ok(is_lost)
    }

    /// What is wrong with a file. `Err`: not known.
    async fn look(&self, file: &StoredFile) -> Result<Option<Bad>, String> {
        let backend = self.gate.open(file.backend).await?;
        match backend.head(&file.storage_key).await {
            Ok(_) => {}
            Err(error) if error.kind == BackendErrorKind::NotFound => {
                self.gate.confirm(&backend).await?;
                return Ok(Some(Bad::Gone));
            }
            Err(error) => return Err(error.to_string()),
        }
        let bytes = read_file(&backend, &file.storage_key).await?;
        Ok(JournalFile::read(&bytes).err().map(|error| Bad::Rotten(error.to_string())))
    }

    /// Whether it was the last copy.
    async fn forget(&self, file: &StoredFile, bad: Bad) -> Result<bool, String> {
        let (backend, key) = (file.backend.0, file.storage_key.as_str());
        let why = match &bad {
            Bad::Gone => "it is gone",
            Bad::Rotten(why) => why,
        };
        tracing::error!(backend, key, why, "a file of the journal is not what was stored");
        audit!("journal.file_bad", backend, key, why);
        match bad {
            Bad::Gone => self.journal.journal_file_gone(file.backend, key).await.map_err(text)?,
            Bad::Rotten(_) => self.delete(file).await?,
        }
        Ok(self.journal.journal_holders(key).await.map_err(text)?.is_empty())
    }
}
