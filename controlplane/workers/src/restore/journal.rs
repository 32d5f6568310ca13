//! Reads the journal from the backends and stages its records.

use std::sync::Arc;

use s3o_backend::Backend;
use s3o_blob::journal::{JournalFile, JournalName};
use s3o_core::journal::StoredFile;
use s3o_types::VersionId;
use s3o_types::storage_key::JOURNAL_PREFIX;
use uuid::Uuid;

use super::plan::{self, Holders, Plan, Snapshot};
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

    /// The snapshots that are listed whole, and all segments; the newest one's header, if there is one.
    pub(super) async fn whole_plan(&mut self, files: &Holders) -> (Plan, Option<String>) {
        let (mut snapshots, mut header) = (Vec::new(), None);
        for end in plan::ends(files) {
            let file = match self.file(files, &end).await {
                Ok(file) => file,
                Err(why) => {
                    self.report.unreadable.push(why);
                    continue;
                }
            };
            if let Some(pieces) = plan::pieces(files, &file.records) {
                snapshots.push(Snapshot { number: end.number, pieces });
                header.get_or_insert(file.header);
            }
        }
        (plan::whole(files, snapshots), header)
    }

    /// What the newest file says that can be read, of those from `next` on; whatever is read of the others. Where two processes
    /// wrote one, whichever was made later: buckets may have been made between them.
    pub(super) async fn newest_end(&mut self, files: &Holders, next: u64) -> Result<Option<Ended>, String> {
        let mut newest: Option<(&JournalName, i64, Ended)> = None;
        for name in plan::newest(files).into_iter().take_while(|name| plan::is_beyond(name, next)) {
            let is_older = |of: &JournalName| of.number != name.number || of.part != name.part;
            if newest.as_ref().is_some_and(|(of, ..)| is_older(of)) {
                break;
            }
            match self.file(files, name).await {
                Ok(file) => {
                    let (changes, open) = (changes_of(&file.header), mark_of(name, &file.header)?);
                    if newest.as_ref().is_none_or(|(_, before, _)| *before < changes) {
                        newest = Some((name, changes, Ended { header: file.header, open }));
                    }
                }
                Err(why) => self.tell_unreadable(why),
            }
        }
        Ok(newest.map(|(_, _, ended)| ended))
    }

    fn tell_unreadable(&mut self, why: String) {
        if !self.report.unreadable.contains(&why) {
            self.report.unreadable.push(why);
        }
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
        self.report.files += 1;
        self.report.records += records.len() as u64;
        if !self.known.contains(&name.to_string()) {
            let last = self.restore.restore_last_record().await.map_err(text)?;
            match self.lost.last_mut() {
                Some((_, upto)) if *upto == before => *upto = last,
                _ => self.lost.push((before, last)),
            }
        }
        Ok(())
    }

    /// Stages the records of one file; its header. `None`: it cannot be read, which is told.
    async fn stage_file(&mut self, files: &Holders, name: &JournalName) -> Result<Option<String>, String> {
        match self.file(files, name).await {
            Ok(file) => {
                let is_own = self.known.contains(&name.to_string());
                let buckets = if is_own { &self.present } else { &self.newest };
                let records = buckets.renumbered(&file.header, file.records);
                self.stage_records(name, &records).await?;
                Ok(Some(file.header))
            }
            Err(why) => {
                self.tell_unreadable(why);
                Ok(None)
            }
        }
    }

    /// Stages the newest snapshot that can be read whole, with what can be read of newer ones: records may come twice.
    /// `None`: there is none. Else its number, and the mark of its last piece.
    async fn stage_snapshot(
        &mut self,
        files: &Holders,
        plan: &mut Plan,
    ) -> Result<Option<(u64, VersionId)>, String> {
        for Snapshot { number, pieces } in plan.snapshots.clone() {
            let (mut is_whole, mut open) = (true, VersionId::from_uuid(Uuid::nil()));
            for name in &pieces {
                match self.stage_file(files, name).await? {
                    Some(header) => open = mark_of(name, &header)?,
                    None => is_whole = false,
                }
            }
            plan.stand_on(number);
            if is_whole {
                self.report.snapshot = Some(number);
                return Ok(Some((number, open)));
            }
        }
        Ok(None)
    }

    /// Stages the records of a plan's files. One that cannot be read is told, and counts as missing. Blobs of versions from
    /// the answer on may be of after the journal's end, or of where it has a gap; `None`: the plan has no files.
    pub(super) async fn stage(&mut self, files: &Holders, plan: Plan) -> Result<Option<VersionId>, String> {
        let mut plan = plan;
        let wants_snapshot = !plan.snapshots.is_empty();
        let base = self.stage_snapshot(files, &mut plan).await?;
        self.report.missing.extend(&plan.missing);
        if !wants_snapshot && plan.segments.is_empty() {
            return Ok(None);
        }
        // Behind a gap nobody knows what was open in it; where it begins with one, every blob may be an object.
        let mut is_broken = wants_snapshot && base.is_none();
        let (mut open, mut number) = (base.map(|(_, open)| open), 0);
        let of_base = base.map_or(0, |(number, _)| number);
        for name in &plan.segments {
            is_broken |= plan.missing.iter().any(|missing| (number..name.number).contains(missing));
            number = name.number;
            let header = self.stage_file(files, name).await?;
            // The snapshot has what those of before it say, but for young versions that are gone.
            if name.number < of_base {
                continue;
            }
            match header {
                Some(header) if !is_broken => open = Some(mark_of(name, &header)?),
                Some(_) => {}
                None => is_broken = true,
            }
        }
        self.has_gap = is_broken;
        Ok(Some(open.unwrap_or(VersionId::from_uuid(Uuid::nil()))))
    }
}

fn mark_of(name: &JournalName, header: &str) -> Result<VersionId, String> {
    open_of(header).ok_or_else(|| format!("{name}: its header says no `open`"))
}

async fn whole(backend: &Arc<Backend>, name: &JournalName) -> Result<JournalFile, String> {
    let bytes = read_file(backend, &name.to_string()).await?;
    JournalFile::read(&bytes).map_err(|error| format!("{}: {name}: {error}", backend.name()))
}

/// How far the numbers of changes were when a file was made.
fn changes_of(header: &str) -> i64 {
    let header: serde_json::Value = serde_json::from_str(header).unwrap_or_default();
    header.get("change_seq").and_then(serde_json::Value::as_i64).unwrap_or(0)
}

/// The lowest version that may have been committed after a file's last change.
fn open_of(header: &str) -> Option<VersionId> {
    let header: serde_json::Value = serde_json::from_str(header).ok()?;
    let open = header.get("open")?.as_str()?.parse().ok()?;
    Some(VersionId::from_uuid(open))
}
