//! Reads the journal from the backends and stages its records.

use std::sync::Arc;

use s3o_backend::Backend;
use s3o_blob::journal::{JournalFile, JournalName, JournalPart};
use s3o_core::journal::StoredFile;
use s3o_types::VersionId;
use s3o_types::storage_key::JOURNAL_PREFIX;

use super::plan::{self, Holders, Plan};
use super::{Restorer, text};
use crate::journal::read_file;
use crate::listing::Listing;

/// Records in one statement.
const RECORDS: usize = 1000;

/// What the newest file says of the database.
pub(super) struct Ended {
    pub(super) header: String,
    /// Blobs of versions from here on may be of after the journal's end, or of where it has a gap.
    pub(super) open: VersionId,
}

impl Restorer {
    /// All files of the journal on all backends.
    pub(super) async fn files(&mut self) -> Result<Holders, String> {
        let mut files = Holders::new();
        for (at, backend) in self.backends.clone().iter().enumerate() {
            let mut listing = Listing::new(backend, JOURNAL_PREFIX, "", false);
            loop {
                let (entries, last) = listing.page().await?;
                for entry in entries {
                    let Some(name) = JournalName::parse(&entry.key) else { continue };
                    let (number, bytes) = (name.number, entry.size);
                    self.stored.push(StoredFile {
                        backend: backend.id(),
                        storage_key: entry.key,
                        number,
                        bytes,
                    });
                    files.entry(name).or_default().push(at);
                }
                if last {
                    break;
                }
            }
        }
        Ok(files)
    }

    /// The newest snapshot that is whole, and all segments; its end's header, if there is one.
    pub(super) async fn whole_plan(&mut self, files: &Holders) -> (Plan, Option<String>) {
        for end in plan::ends(files) {
            let file = match self.file(files, &end).await {
                Ok(file) => file,
                Err(why) => {
                    self.report.unreadable.push(why);
                    continue;
                }
            };
            if let Some(pieces) = plan::pieces(files, &file.records) {
                self.report.snapshot = Some(end.number);
                return (plan::whole(files, end.number, pieces), Some(file.header));
            }
        }
        (plan::whole(files, 1, Vec::new()), None)
    }

    /// What the newest file says, whatever is read of the others.
    pub(super) async fn newest_end(&self, files: &Holders) -> Result<Option<Ended>, String> {
        let Some(name) = plan::newest(files) else { return Ok(None) };
        let header = self.file(files, name).await?.header;
        let open = open_of(&header).ok_or_else(|| format!("{name}: its header says no `open`"))?;
        Ok(Some(Ended { header, open }))
    }

    /// From whichever backend has it whole.
    async fn file(&self, files: &Holders, name: &JournalName) -> Result<JournalFile, String> {
        let mut why = format!("{name} is on no backend");
        for backend in files.get(name).into_iter().flatten().filter_map(|at| self.backends.get(*at)) {
            match whole(backend, name).await {
                Ok(file) => return Ok(file),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Those of a file that is not the database's own are of the lost history.
    async fn stage_records(&mut self, name: &JournalName, records: &[String]) -> Result<(), String> {
        let before = self.restore.restore_last_record().await.map_err(text)?;
        for lines in records.chunks(RECORDS) {
            self.restore.restore_records(lines.to_vec()).await.map_err(text)?;
        }
        if !self.known.contains(&name.to_string()) {
            let last = self.restore.restore_last_record().await.map_err(text)?;
            match self.lost.last_mut() {
                Some((_, upto)) if *upto == before => *upto = last,
                _ => self.lost.push((before, last)),
            }
        }
        Ok(())
    }

    /// Stages the records of a plan's files. One that cannot be read is told, and counts as missing.
    pub(super) async fn stage(&mut self, files: &Holders, plan: &Plan) -> Result<Option<Ended>, String> {
        let mut ended: Option<Ended> = None;
        let mut is_broken = false;
        let mut number = 0;
        self.report.missing.extend(&plan.missing);
        for name in plan.snapshot.iter().chain(&plan.segments) {
            if name.part == JournalPart::Segment {
                is_broken |= plan.missing.iter().any(|missing| (number..name.number).contains(missing));
                number = name.number;
            }
            let file = match self.file(files, name).await {
                Ok(file) => file,
                Err(why) => {
                    self.report.unreadable.push(why);
                    is_broken = true;
                    continue;
                }
            };
            let open = open_of(&file.header).ok_or_else(|| format!("{name}: its header says no `open`"))?;
            // Behind a gap nobody knows what was open in it.
            let open = match &ended {
                Some(before) if is_broken => before.open,
                _ => open,
            };
            self.report.files += 1;
            self.report.records += file.records.len() as u64;
            self.stage_records(name, &file.records).await?;
            ended = Some(Ended { header: file.header, open });
        }
        Ok(ended)
    }
}

async fn whole(backend: &Arc<Backend>, name: &JournalName) -> Result<JournalFile, String> {
    let bytes = read_file(backend, &name.to_string()).await?;
    JournalFile::read(&bytes).map_err(|error| format!("{}: {name}: {error}", backend.name()))
}

/// The lowest version that may have been committed after a file's last change.
fn open_of(header: &str) -> Option<VersionId> {
    let header: serde_json::Value = serde_json::from_str(header).ok()?;
    let open = header.get("open")?.as_str()?.parse().ok()?;
    Some(VersionId::from_uuid(open))
}
