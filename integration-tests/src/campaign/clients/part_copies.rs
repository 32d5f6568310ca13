//! `UploadPartCopy`: parts of an upload that are objects, or ranges of objects, of this client.
//!
//! Invariant: the source is stored before, and deleted after, by this client alone: what the part contains is known.

use std::ops::Range;

use aws_sdk_s3::types::CompletedPart;
use rand::RngExt as _;

use super::multipart::Upload;
use super::{Target, Worker};
use crate::campaign::buckets::BUCKETS;
use crate::campaign::content::Piece;
use crate::campaign::own::own_key;
use crate::config::MIN_PART;
use crate::s3::{Failure, md5, unquoted};

/// Bytes of the smallest part.
pub(super) fn smallest() -> usize {
    usize::try_from(MIN_PART).unwrap_or(1024)
}

impl Worker {
    /// Copies a part; its content, where that was acknowledged.
    pub(super) async fn part_copy(&mut self, upload: &mut Upload<'_>, number: i32) -> Option<Piece> {
        let bucket = &BUCKETS[self.random.random_range(0..BUCKETS.len())];
        let source = Target { bucket, key: own_key(&self.name, "parts", self.made) };
        let size = 3 * smallest() + self.random.random_range(0..100_000);
        let stored = self.put_own(&source, size).await?;
        let range = self.draw_part(size);
        let piece = range.as_ref().map_or_else(|| stored.piece.clone(), |range| stored.piece.part(range));
        let etag = self.copied(upload, number, &source, range).await;
        if self.random.random_bool(0.75) {
            self.give_up(&source, stored.id.as_deref()).await;
        }
        let etag = etag?;
        if etag != md5(&piece.bytes()) {
            // A backend copies a damaged blob as it is; then the part is not used.
            if !self.board.is_damaged(&stored.etag) {
                let what = format!("part {number} for {}, {} bytes", upload.target.name(), piece.size());
                self.board.refused(format!("part copy of {}: other bytes", source.name()), what);
            }
            return None;
        }
        upload.parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
        Some(piece)
    }

    /// Some bytes in the middle, or the whole object.
    fn draw_part(&mut self, size: usize) -> Option<Range<usize>> {
        if self.random.random_bool(0.5) {
            return None;
        }
        let start = self.random.random_range(0..=size - smallest());
        Some(start..self.random.random_range(start + smallest()..=size))
    }

    /// The ETag that is told of the part.
    async fn copied(
        &mut self,
        upload: &Upload<'_>,
        number: i32,
        source: &Target,
        range: Option<Range<usize>>,
    ) -> Option<String> {
        let (plane, target) = (self.plane(), upload.target);
        let call = plane.upload_part_copy().bucket(target.bucket.name).key(&target.key);
        let call = call.upload_id(&upload.id).part_number(number).copy_source(source.name());
        let range = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let done = call.set_copy_source_range(range).send().await.map_err(|error| Failure::of(&error));
        let told = |part: &aws_sdk_s3::operation::upload_part_copy::UploadPartCopyOutput| {
            unquoted(part.copy_part_result().and_then(|result| result.e_tag()))
        };
        let etag = done.as_ref().ok().map(told);
        self.count("part copy", &target.name(), &done.map(drop));
        etag
    }
}
