//! A form's bytes as they come: the fields one by one, then the file as a stream.
//!
//! Invariant: of what comes before the file, [`MAX_FIELDS`] at most are held, and what the last read brought.

use bytes::{Buf as _, Bytes, BytesMut};
use futures::Stream;
use http_body_util::BodyExt as _;
use s3s::{Body, S3Error, S3Result, s3_error};

use super::part::Part;
use crate::pipeline::{BoxError, faults};

/// S3's limit for all that comes before the file ("form data and boundaries, excluding the content of the file, cannot
/// exceed 20 KB": S3 API reference, "POST Object").
pub(super) const MAX_FIELDS: usize = 20 * 1024;

/// Where a mark stands, from `from` on.
fn find(text: &[u8], mark: &[u8], from: usize) -> Option<usize> {
    let (first, mut at) = (mark.first()?, from);
    loop {
        at += text.get(at..)?.iter().position(|byte| byte == first)?;
        if text[at..].starts_with(mark) {
            return Some(at);
        }
        at += 1;
    }
}

pub(super) struct Reader {
    body: Body,
    buffer: BytesMut,
    /// What ends a part: a line's end, two hyphens, the boundary.
    pub delimiter: Bytes,
    /// Bytes that were taken out of the buffer.
    consumed: u64,
}

impl Reader {
    pub(super) fn new(body: Body, boundary: &str) -> Self {
        // The first boundary has no line's end before it.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Self { body, buffer, delimiter: Bytes::from(format!("\r\n--{boundary}")), consumed: 0 }
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> Result<bool, BoxError> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(false) };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
                return Ok(true);
            }
        }
    }

    async fn more_fields(&mut self) -> S3Result<()> {
        match self.more().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(malformed()),
            Err(_) => Err(s3_error!(IncompleteBody)),
        }
    }

    /// All up to a mark, which is taken too.
    pub(super) async fn until(&mut self, mark: &[u8]) -> S3Result<Bytes> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.buffer, mark, from) {
                let text = self.buffer.split_to(at).freeze();
                self.buffer.advance(mark.len());
                self.count(at + mark.len());
                return if self.consumed > MAX_FIELDS as u64 { Err(too_large()) } else { Ok(text) };
            }
            if self.buffer.len() > MAX_FIELDS {
                return Err(too_large());
            }
            from = self.buffer.len().saturating_sub(mark.len() - 1);
            self.more_fields().await?;
        }
    }

    /// Bytes of the body that were taken: the buffer began with a line's end of our own.
    pub(super) const fn read(&self) -> u64 {
        self.consumed.saturating_sub(2)
    }

    fn count(&mut self, bytes: usize) {
        self.consumed += bytes as u64;
    }

    /// The headers of the next part.
    pub(super) async fn part(&mut self) -> S3Result<Part> {
        while self.buffer.len() < 2 {
            self.more_fields().await?;
        }
        let end = self.buffer.split_to(2);
        self.count(2);
        match &end[..] {
            b"\r\n" => Part::parse(&self.until(b"\r\n\r\n").await?),
            b"--" => Err(s3_error!(InvalidArgument, "POST requires exactly one file upload per request.")),
            _ => Err(malformed()),
        }
    }
}

fn too_large() -> S3Error {
    faults::custom(
        "MaxPostPreDataLengthExceeded",
        http::StatusCode::BAD_REQUEST,
        "Your POST request fields preceding the upload file were too large.",
    )
}

/// The file of a form.
pub(crate) struct FilePart {
    pub(super) reader: Reader,
    /// Bytes, where nothing comes behind it, as browsers and libraries write it.
    pub size: u64,
    /// Bytes, whatever comes behind it.
    pub at_most: u64,
}

impl FilePart {
    /// Its bytes. A form that ends before its file does is an error.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
        futures::stream::try_unfold((self.reader, false), |(mut reader, ended)| async move {
            if ended {
                return Ok(None);
            }
            loop {
                if let Some(at) = find(&reader.buffer, &reader.delimiter, 0) {
                    let last = reader.buffer.split_to(at).freeze();
                    return Ok((!last.is_empty()).then_some((last, (reader, true))));
                }
                // The delimiter may have begun in the last bytes.
                let held = reader.delimiter.len() - 1;
                if reader.buffer.len() > held {
                    let chunk = reader.buffer.split_to(reader.buffer.len() - held).freeze();
                    return Ok(Some((chunk, (reader, false))));
                }
                if !reader.more().await? {
                    return Err("the form ends within its file".into());
                }
            }
        })
    }
}

pub(super) fn malformed() -> S3Error {
    s3_error!(MalformedPOSTRequest, "The body of your POST request is not well-formed multipart/form-data.")
}
