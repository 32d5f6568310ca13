//! Snapshots: all versions that there are, so that segments need not be kept for ever.
//!
//! Invariants: rows are read while clients write, so that a snapshot is of no single moment: the segments from its number on
//! put right what changed meanwhile, and its end is written only when they reach beyond its last row; a snapshot without an
//! end is none.

use s3o_blob::journal::{FULL_BYTES, JournalPart};
use s3o_core::journal::{JournalState, JournalStep, OpenSnapshot, RowPlace};
use s3o_core::worker::Counts;
use s3o_runtime::audit;

use super::{JournalWorker, PAGE, text};

impl JournalWorker {
    /// Goes on with the snapshot that is open, or begins one that is due.
    pub(super) async fn snapshot(&self, mut state: JournalState, counts: &mut Counts) -> Result<(), String> {
        let every_us = i64::try_from(self.settings.snapshot_interval.as_micros()).unwrap_or(i64::MAX);
        if state.wants_snapshot(every_us) && !self.is_empty(&state).await? {
            self.step(&state, JournalStep::SnapshotBegun).await?;
            let number = state.segment;
            state.snapshot =
                Some(OpenSnapshot { number, files: Vec::new(), upto: RowPlace::start(), is_read: false });
            audit!("journal.snapshot_start", number);
        }
        let Some(mut open) = state.snapshot.take() else { return Ok(()) };
        while !open.is_read {
            if self.shutdown.is_stopping() {
                return Ok(());
            }
            self.piece(&state, &mut open, counts).await?;
        }
        // What changed while it was read is in a segment before it counts.
        if !self.journal.snapshot_settled().await.map_err(text)? {
            return Ok(());
        }
        let state = self.ship(state, counts).await?;
        self.complete(&state, &open, counts).await
    }

    /// Whether nothing was ever stored: then there is nothing to rebuild.
    async fn is_empty(&self, state: &JournalState) -> Result<bool, String> {
        let first = self.journal.snapshot_rows(&RowPlace::start(), 1).await.map_err(text)?;
        Ok(state.segment == 1 && first.upto.is_none())
    }

    /// One file more, or the note that all rows are in those that there are.
    async fn piece(
        &self,
        state: &JournalState,
        open: &mut OpenSnapshot,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let (lines, upto) = self.rows(&open.upto).await?;
        let Some(upto) = upto else {
            self.step(state, JournalStep::SnapshotRead).await?;
            open.is_read = true;
            return Ok(());
        };
        let header = self.journal.journal_header(state.shipped).await.map_err(text)?;
        let part = JournalPart::Snapshot(u32::try_from(open.files.len()).unwrap_or(u32::MAX));
        let file = self.files.write(open.number, part, &header, &lines, self.settings.copies).await?;
        self.step(state, JournalStep::SnapshotPiece(file.clone(), upto.clone())).await?;
        open.files.push(file);
        open.upto = upto;
        *counts.entry("snapshot_files".to_owned()).or_default() += 1;
        Ok(())
    }

    /// Rows behind a row, as many as a file takes, and the last of them.
    async fn rows(&self, after: &RowPlace) -> Result<(Vec<String>, Option<RowPlace>), String> {
        let (mut lines, mut bytes, mut upto) = (Vec::new(), 0, None);
        while bytes < FULL_BYTES {
            let read =
                self.journal.snapshot_rows(upto.as_ref().unwrap_or(after), PAGE).await.map_err(text)?;
            let Some(last) = read.upto else { break };
            bytes += read.lines.iter().map(String::len).sum::<usize>();
            lines.extend(read.lines);
            upto = Some(last);
        }
        Ok((lines, upto))
    }

    async fn complete(
        &self,
        state: &JournalState,
        open: &OpenSnapshot,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let header = self.journal.journal_header(state.shipped).await.map_err(text)?;
        let (number, copies) = (open.number, self.settings.copies);
        self.files.write(number, JournalPart::SnapshotEnd, &header, &open.files, copies).await?;
        self.step(state, JournalStep::SnapshotComplete).await?;
        audit!("journal.snapshot_complete", number, files = open.files.len() as u64);
        *counts.entry("snapshots".to_owned()).or_default() += 1;
        Ok(())
    }
}
