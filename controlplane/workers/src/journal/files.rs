//! Files of the journal on the backends: written to as many as are wanted, or to one at least; copied and deleted later.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use s3o_backend::Backend;
use s3o_blob::journal::{JournalFile, JournalName, JournalPart, JournalWriter};
use s3o_blob::{AlgorithmSet, BodyHasher};
use s3o_core::journal::StoredFile;
use s3o_core::ports::Journal;
use s3o_core::worker::Counts;
use s3o_types::BackendId;
use uuid::Uuid;

use super::text;
use crate::Deps;
use crate::backends::Backends;
use crate::marker_gate::MarkerGate;

/// More than a file has that could not be compressed at all.
const MAX_FILE_BYTES: usize = 256 << 20;

pub(super) struct Files {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) gate: MarkerGate,
    backends: Arc<Backends>,
    /// Of the claim.
    owner: Uuid,
}

impl Files {
    pub(super) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        let gate = MarkerGate::new(deps.configs.clone(), backends.clone());
        Self { journal: deps.journal.clone(), gate, backends, owner }
    }

    /// All backends, to be looked at.
    pub(super) fn backends(&self) -> Vec<Arc<Backend>> {
        self.backends.all()
    }

    /// Makes a file and stores it under a name of its own, on `copies` backends if so many take it. Returns the name.
    pub(super) async fn write(
        &self,
        number: u64,
        part: JournalPart,
        header: &str,
        lines: &[String],
        copies: u16,
    ) -> Result<String, String> {
        let file =
            encode(header, lines).map_err(|error| format!("writing a file of the journal: {error}"))?;
        let storage_key = JournalName { number, part, tag: rand::random() }.to_string();
        let bytes = file.len() as u64;
        let (mut stored, mut failed) = (0, None);
        for backend in self.journal.journal_targets(bytes).await.map_err(text)? {
            let row = StoredFile { backend, storage_key: storage_key.clone(), number, bytes };
            match self.put(&row, file.clone()).await {
                Ok(()) => stored += 1,
                Err(error) => failed = Some(error),
            }
            if stored >= copies.max(1) {
                break;
            }
        }
        if stored == 0 {
            return Err(failed.unwrap_or_else(|| "no backend has room for the journal".to_owned()));
        }
        if let Some(error) = failed.filter(|_| stored < copies) {
            tracing::warn!(
                file = storage_key,
                stored,
                wanted = copies,
                error,
                "a file of the journal lacks copies"
            );
        }
        Ok(storage_key)
    }

    async fn put(&self, row: &StoredFile, file: Bytes) -> Result<(), String> {
        let backend = self.up(row.backend)?;
        self.journal.note_journal_file(row).await.map_err(text)?;
        let (key, digests) = (&row.storage_key, BodyHasher::digest(&file, AlgorithmSet::default()));
        let body = futures::stream::iter([Ok::<_, std::io::Error>(file)]);
        let put = backend.put(key, row.bytes, Vec::new(), body).await;
        let named = |error: s3o_backend::BackendError| format!("{}: {error}", backend.name());
        let put = put.map_err(named)?;
        backend.verify_put(key, &put, &digests).await.map_err(named)?;
        let known = self.journal.journal_file_stored(row.backend, key).await.map_err(text)?;
        if known { Ok(()) } else { Err(format!("{}: it is given up", backend.name())) }
    }

    fn up(&self, id: BackendId) -> Result<Arc<Backend>, String> {
        let backend = self.backends.get(id).ok_or_else(|| format!("backend {} is not known", id.0))?;
        let is_up = backend.health().is_up(std::time::Instant::now());
        if is_up { Ok(backend) } else { Err(format!("{} is down", backend.name())) }
    }

    /// Deletes and copies what is to be. One that cannot be now is tried again with the next tick.
    pub(super) async fn chores(&self, copies: u16, counts: &mut Counts) -> Result<(), String> {
        let chores = self.journal.journal_chores(copies).await.map_err(text)?;
        for file in &chores.copy {
            match self.copy(file).await {
                Ok(()) => *counts.entry("copied".to_owned()).or_default() += 1,
                Err(error) => {
                    tracing::debug!(file = file.storage_key, error, "a file of the journal is copied later");
                }
            }
        }
        for file in &chores.delete {
            match self.delete(file).await {
                Ok(false) => {}
                Ok(true) => *counts.entry("deleted".to_owned()).or_default() += 1,
                Err(error) => {
                    tracing::debug!(file = file.storage_key, error, "a file of the journal is deleted later");
                }
            }
        }
        Ok(())
    }

    /// `Ok(false)`: not any more. What the tick began with may be long ago: another process may have the journal, and count on
    /// the file.
    async fn delete(&self, file: &StoredFile) -> Result<bool, String> {
        let backend = self.up(file.backend)?;
        let (id, key) = (file.backend, &file.storage_key);
        if !self.journal.condemn_journal_file(self.owner, id, key).await.map_err(text)? {
            return Ok(false);
        }
        backend.delete(key, None).await.map_err(|error| error.to_string())?;
        self.journal.journal_file_gone(id, key).await.map_err(text)?;
        Ok(true)
    }

    /// To a backend that has not got it and never had a PUT of it.
    async fn copy(&self, file: &StoredFile) -> Result<(), String> {
        let holders = self.journal.journal_holders(&file.storage_key).await.map_err(text)?;
        let targets = self.journal.journal_targets(file.bytes).await.map_err(text)?;
        let target = targets.into_iter().find(|id| !holders.contains(id) && self.up(*id).is_ok());
        let target = target.ok_or("no other backend takes it")?;
        let bytes = read_file(&self.up(file.backend)?, &file.storage_key).await?;
        JournalFile::read(&bytes).map_err(|error| error.to_string())?;
        let row = StoredFile { backend: target, bytes: bytes.len() as u64, ..file.clone() };
        self.put(&row, bytes).await
    }
}

/// A file's bytes, not looked at.
pub(crate) async fn read_file(backend: &Arc<Backend>, storage_key: &str) -> Result<Bytes, String> {
    let mut file = BytesMut::new();
    read_chunks(backend, storage_key, |chunk| {
        if file.len() <= MAX_FILE_BYTES {
            file.extend_from_slice(chunk);
        }
    })
    .await?;
    if file.len() > MAX_FILE_BYTES {
        return Err(format!(
            "{}: {storage_key}: none of ours has more than {MAX_FILE_BYTES} bytes",
            backend.name()
        ));
    }
    Ok(file.freeze())
}

/// A blob's bytes, chunk by chunk.
pub(crate) async fn read_chunks(
    backend: &Arc<Backend>,
    storage_key: &str,
    mut each: impl FnMut(&[u8]),
) -> Result<(), String> {
    let named = |error: String| format!("{}: {storage_key}: {error}", backend.name());
    let got = backend.get(storage_key, None, None).await.map_err(|error| named(error.to_string()))?;
    let mut body = got.body;
    while let Some(chunk) = body.next().await {
        each(&chunk.map_err(|error| named(error.to_string()))?);
    }
    Ok(())
}

fn encode(header: &str, lines: &[String]) -> std::io::Result<Bytes> {
    let mut writer = JournalWriter::new(header)?;
    for line in lines {
        writer.push(line)?;
    }
    Ok(Bytes::from(writer.finish()?))
}
