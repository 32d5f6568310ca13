//! Multipart uploads: completed, given up, or forgotten. Their parts are sent, or copied from objects.
//!
//! Invariant: a Complete without an answer is asked once more through another data plane, as SDKs do; both together
//! are one call of the history.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use md5::{Digest as _, Md5};
use rand::RngExt as _;
use s3o_testkit::history::{Call, Condition};

use super::part_copies::smallest;
use super::{Target, Worker, written};
use crate::campaign::content::{Content, Piece};
use crate::s3::{Failure, md5, unquoted};

/// An upload that was opened.
pub(super) struct Upload<'a> {
    /// Where the object goes.
    pub(super) target: &'a Target,
    /// Its id.
    pub(super) id: String,
    /// Parts that were acknowledged.
    pub(super) parts: Vec<CompletedPart>,
}

impl Worker {
    pub(super) async fn multipart(&mut self, target: &Target) -> bool {
        let plane = self.plane();
        let created =
            plane.create_multipart_upload().bucket(target.bucket.name).key(&target.key).send().await;
        let created = created.map_err(|error| Failure::of(&error));
        let id = created.as_ref().ok().and_then(|created| created.upload_id().map(str::to_owned));
        let answered = self.count("create upload", &target.name(), &created.map(drop));
        let Some(id) = id else { return answered };
        let mut upload = Upload { target, id, parts: Vec::new() };
        let (mut pieces, mut whole, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=self.random.random_range(1..=4) {
            let part = if self.random.random_bool(0.3) {
                self.part_copy(&mut upload, number).await
            } else {
                self.part(&mut upload, number).await
            };
            // Forgotten: whoever cleans up must not count on the client.
            let Some(piece) = part else { return false };
            let body = piece.bytes();
            whole.extend_from_slice(&body);
            digests.extend_from_slice(&Md5::digest(&body));
            pieces.push(piece);
        }
        match self.random.random_range(0..10) {
            0 => true,
            1 => self.abort(&upload).await,
            _ => {
                let etag = format!("{}-{}", md5(&digests), upload.parts.len());
                self.board.will_write(&etag, Content::new(pieces, &whole));
                self.complete(upload, etag).await
            }
        }
    }

    /// Sends a part; its content, where that was acknowledged.
    async fn part(&mut self, upload: &mut Upload<'_>, number: i32) -> Option<Piece> {
        let size = smallest() + self.random.random_range(0..150_000);
        let piece = self.piece(size);
        let (plane, target) = (self.plane(), upload.target);
        let call = plane.upload_part().bucket(target.bucket.name).key(&target.key).upload_id(&upload.id);
        let done = call.part_number(number).body(ByteStream::from(piece.bytes())).send().await;
        let done = done.map_err(|error| Failure::of(&error));
        if let Ok(part) = &done {
            let etag = unquoted(part.e_tag());
            upload.parts.push(CompletedPart::builder().part_number(number).e_tag(etag).build());
        }
        let stored = done.is_ok();
        self.count("part", &target.name(), &done.map(drop));
        stored.then_some(piece)
    }

    async fn abort(&mut self, upload: &Upload<'_>) -> bool {
        let plane = self.plane();
        let call = plane.abort_multipart_upload().bucket(upload.target.bucket.name).key(&upload.target.key);
        let done = call.upload_id(&upload.id).send().await.map(drop).map_err(|error| Failure::of(&error));
        self.count("abort", &upload.target.name(), &done)
    }

    async fn complete(&mut self, upload: Upload<'_>, etag: String) -> bool {
        let call = Call::Write { values: vec![etag.as_str().into()], condition: Condition::None };
        let name = upload.target.name();
        let pending = self.board.recorder.invoke(&self.name, &name, call);
        let mut done = completed(&self.plane(), &upload).await;
        if matches!(&done, Err(failure) if failure.is_unknown()) {
            self.count("complete", &name, &done.clone().map(drop));
            let again = completed(&self.plane(), &upload).await;
            // A refusal now says nothing of the first one, which may have been done.
            if again.is_ok() {
                done = again;
            }
        }
        let (id, done) = match done {
            Ok(id) => (id, Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        pending.end(written(&done, &Condition::None));
        self.note_version(upload.target, id, &etag);
        self.count("complete", &name, &done)
    }
}

/// The version id, where the bucket keeps versions.
async fn completed(plane: &Client, upload: &Upload<'_>) -> Result<Option<String>, Failure> {
    let list = CompletedMultipartUpload::builder().set_parts(Some(upload.parts.clone())).build();
    let call = plane.complete_multipart_upload().bucket(upload.target.bucket.name).key(&upload.target.key);
    let done = call.upload_id(&upload.id).multipart_upload(list).send().await;
    done.map(|done| done.version_id().map(str::to_owned)).map_err(|error| Failure::of(&error))
}
