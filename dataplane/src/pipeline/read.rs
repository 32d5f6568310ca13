//! A read: bytes of a version from whichever copy gives them.
//!
//! Invariants: all bytes are of the one version that was located; the stream ends without an error
//! only after exactly the bytes that were asked for. A copy that breaks off is replaced by another at
//! the offset reached. Of an extent that is read whole the last chunk leaves only when all of it is what was written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use s3o_backend::{BackendError, BackendErrorKind, ByteRange, Certainty, DownloadBody};
use s3o_types::{BucketId, ErrorCode, Etag, VersionId};

use super::body::ByteStream;
use super::hedge::first_of;
use super::verify::{ExtentCheck, Wrong};
use super::{BoxError, audit};
use crate::control::{Caller, Failure, Located, LocatedCopy, LocatedExtent, Want};
use crate::ops::range::Slice;
use crate::plane::Plane;

/// Bytes after which earlier failures are forgotten: a long download may meet many.
const FORGIVEN_AFTER: u64 = 8 * 1024 * 1024;
/// The pause before the same copy is tried again.
const SAME_COPY_PAUSE: Duration = Duration::from_millis(200);
/// How quickly all copies must have failed for them to be asked once more.
const WORTH_ANOTHER_ROUND: Duration = Duration::from_secs(1);

/// Why no byte could be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// Every copy is gone: the version may have been replaced since it was located.
    Gone,
    /// No copy could be read now.
    Unavailable,
}

/// What is read, and on whose behalf: a version of many extents is located piece by piece.
#[derive(Clone)]
pub(crate) struct Source {
    pub caller: Caller,
    pub bucket: BucketId,
    pub key: String,
}

/// Opens `slice` of a located version: the stream has its first answer from a backend.
pub(crate) async fn open(
    plane: &Arc<Plane>,
    source: Source,
    located: &Located,
    slice: Slice,
) -> Result<ByteStream, ReadError> {
    let mut reader = Reader::new(Arc::clone(plane), source, located, slice);
    if slice.len() > 0 {
        reader.connect().await?;
    }
    if let Some((_, copy, _)) = &reader.open {
        audit::read(plane, &reader.source.caller, &reader.source.key, copy, slice.len());
    }
    Ok(Box::pin(futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })))
}

/// Reads a version without waiting for the first answer: for copies, whose target waits.
pub(crate) fn lazily(plane: Arc<Plane>, source: Source, located: &Located, slice: Slice) -> ByteStream {
    let reader = Reader::new(plane, source, located, slice);
    Box::pin(futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    }))
}

struct Reader {
    plane: Arc<Plane>,
    source: Source,
    version: VersionId,
    /// Those that cover what comes next, as far as they were located.
    extents: Vec<LocatedExtent>,
    /// The next byte of the object.
    at: u64,
    end: u64,
    /// What gives bytes now: the copy, and where in the object what it gives ends.
    open: Option<(DownloadBody, LocatedCopy, u64)>,
    /// The extent that is being read, where all of it is and its digest is known.
    check: Option<ExtentCheck>,
    /// Known to be right, and next to leave.
    ready: Option<Bytes>,
    /// The copy that failed last: tried last.
    failed: Option<LocatedCopy>,
    failures: usize,
    since_failure: u64,
    done: bool,
}

impl Reader {
    fn new(plane: Arc<Plane>, source: Source, located: &Located, slice: Slice) -> Self {
        Self {
            plane,
            source,
            version: located.version,
            extents: located.extents.clone(),
            at: slice.start,
            end: slice.end,
            open: None,
            check: None,
            ready: None,
            failed: None,
            failures: 0,
            since_failure: 0,
            done: false,
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        if let Some(chunk) = self.ready.take() {
            return Some(Ok(chunk));
        }
        while self.at < self.end && !self.done {
            if self.open.is_none()
                && let Err(error) = self.connect().await
            {
                self.done = true;
                return Some(Err(format!("no copy gives byte {}: {error:?}", self.at).into()));
            }
            let Some((body, copy, until)) = &mut self.open else { continue };
            match body.next().await {
                Some(Ok(chunk)) => {
                    let length = chunk.len() as u64;
                    self.at += length;
                    self.since_failure += length;
                    let is_last = self.at >= *until;
                    let held_before = match &mut self.check {
                        Some(check) => check.take(chunk),
                        None => Some(chunk),
                    };
                    let item = if is_last { self.end_of_extent(held_before) } else { held_before.map(Ok) };
                    if item.is_some() {
                        return item;
                    }
                }
                // The body of a download never ends early without an error; if it does, it failed.
                ended => {
                    let error = ended.and_then(Result::err);
                    tracing::warn!(backend = copy.backend.0, at = self.at, ?error, "a copy broke off");
                    let copy = copy.clone();
                    self.open = None;
                    if !self.may_go_on(copy) {
                        self.done = true;
                        return Some(Err("every copy broke off".into()));
                    }
                }
            }
        }
        None
    }

    /// All bytes of an extent, or of what is wanted of it, were read; `before` may leave. What was held may leave after
    /// it, if the bytes are right. `None`: another copy is to be read.
    fn end_of_extent(&mut self, before: Option<Bytes>) -> Option<Result<Bytes, BoxError>> {
        let (_, copy, until) = self.open.take()?;
        let Some(check) = self.check.take() else {
            // The next extent has copies of its own.
            self.failures = 0;
            return before.map(Ok);
        };
        let concluded = check.conclude();
        self.plane.metrics.verified(concluded.is_ok());
        match concluded {
            Ok(last) => {
                self.failures = 0;
                self.ready = last;
                before.or_else(|| self.ready.take()).map(Ok)
            }
            Err(Wrong { seen }) => {
                self.is_wrong(&copy);
                self.at = self.extent_before(until);
                if !seen && before.is_none() && self.may_go_on(copy) {
                    return None;
                }
                self.done = true;
                Some(Err("the copy's bytes are not those that were written".into()))
            }
        }
    }

    /// Where the extent begins that ends there.
    fn extent_before(&self, until: u64) -> u64 {
        let extent = self.extents.iter().find(|extent| extent.offset + extent.size == until);
        extent.map_or(self.at, |extent| extent.offset)
    }

    /// A worker is told of the copy, once; until it has looked, other copies are read first.
    fn is_wrong(&self, copy: &LocatedCopy) {
        tracing::error!(backend = copy.backend.0, key = copy.storage_key, "a copy gave wrong bytes");
        if !self.plane.suspects.note(copy, Instant::now()) {
            return;
        }
        let (source, version) = (self.source.clone(), self.version);
        self.plane.shutdown.spawn(async move {
            let Source { caller, bucket, key } = source;
            if let Err(failure) = caller.anew().report_corruption(bucket, &key, version).await {
                tracing::warn!(?failure, key, "wrong bytes could not be told of");
            }
        });
    }

    /// Counts a failure; each copy gets one more chance after all have failed.
    fn may_go_on(&mut self, copy: LocatedCopy) -> bool {
        if self.since_failure >= FORGIVEN_AFTER {
            self.failures = 0;
        }
        self.since_failure = 0;
        self.failures += 1;
        self.failed = Some(copy);
        let copies = self.extent().map_or(0, |extent| extent.copies.len());
        self.failures <= copies
    }

    fn extent(&self) -> Option<&LocatedExtent> {
        self.extents.iter().find(|extent| (extent.offset..extent.offset + extent.size).contains(&self.at))
    }

    /// Asks the copies of the current extent, best first, until one answers.
    async fn connect(&mut self) -> Result<(), ReadError> {
        if self.extent().is_none() {
            self.locate_more().await?;
        }
        let Some(extent) = self.extent().cloned() else { return Err(ReadError::Unavailable) };
        let until = (extent.offset + extent.size).min(self.end);
        if self.at == extent.offset && until == extent.offset + extent.size && self.plane.verifies_reads() {
            self.check = extent.proof().map(ExtentCheck::new);
        }
        let copies = self.in_order(&extent);
        let started = Instant::now();
        match self.ask(&extent, &copies, until).await {
            // A connection that was just closed is no reason to fail a reader; a backend that keeps it waiting is.
            Err(ReadError::Unavailable) if started.elapsed() < WORTH_ANOTHER_ROUND => {
                tokio::time::sleep(SAME_COPY_PAUSE).await;
                self.ask(&extent, &copies, until).await
            }
            decided => decided,
        }
    }

    /// One round over the copies.
    async fn ask(
        &mut self,
        extent: &LocatedExtent,
        copies: &[LocatedCopy],
        until: u64,
    ) -> Result<(), ReadError> {
        let mut gone = 0;
        for (n, copy) in copies.iter().enumerate() {
            if self.failed.as_ref().is_some_and(|failed| same(failed, copy)) {
                tokio::time::sleep(SAME_COPY_PAUSE).await;
            }
            match first_of(&self.plane, &copies[n..], extent, self.at, until).await {
                Ok((body, copy)) => {
                    self.open = Some((body, copy.clone(), until));
                    return Ok(());
                }
                Err(error) => {
                    gone += usize::from(error.kind == BackendErrorKind::NotFound);
                    tracing::warn!(backend = copy.backend.0, key = copy.storage_key, %error, "a copy cannot be read");
                }
            }
        }
        // All copies must say so, those that this release cannot read included.
        Err(if gone == extent.copies.len() && gone > 0 { ReadError::Gone } else { ReadError::Unavailable })
    }

    /// The next extents of the same version, which may have been replaced meanwhile: then they are there for as
    /// long as displaced blobs are.
    async fn locate_more(&mut self) -> Result<(), ReadError> {
        let Source { caller, bucket, key } = &self.source;
        let want = Want::Of(self.version, self.at, self.end);
        match caller.anew().locate(*bucket, (key, None), want).await {
            Ok(located) if located.version == self.version => {
                self.extents = located.extents;
                Ok(())
            }
            // Gone; or a control plane of before this call answers with the current version, whichever that is.
            Ok(_) | Err(Failure::Refused { code: ErrorCode::NoSuchKey, .. } | Failure::Marker { .. }) => {
                Err(ReadError::Gone)
            }
            Err(failure) => {
                tracing::warn!(?failure, at = self.at, "the next extents cannot be located");
                Err(ReadError::Unavailable)
            }
        }
    }

    /// The copies this release can read: verified before uncertain, up before down, fast before slow,
    /// and what just failed last.
    fn in_order(&self, extent: &LocatedExtent) -> Vec<LocatedCopy> {
        let now = Instant::now();
        let mut copies: Vec<_> =
            extent.copies.iter().filter(|copy| copy.encoding.is_plain()).cloned().collect();
        copies.sort_by_cached_key(|copy| {
            let backend = self.plane.backends.get(copy.backend);
            let is_up = backend.as_ref().is_some_and(|backend| backend.health().is_readable(now));
            let latency = backend.and_then(|backend| backend.health().latency()).unwrap_or_default();
            let failed = self.failed.as_ref().is_some_and(|failed| same(failed, copy));
            let is_suspect = self.plane.suspects.contains(copy, now);
            (failed, is_suspect, copy.uncertain, !is_up, latency)
        });
        copies
    }
}

/// Bytes `at..until` of the object from one copy of the extent that they are in.
pub(super) async fn get(
    plane: &Plane,
    copy: &LocatedCopy,
    extent: &LocatedExtent,
    at: u64,
    until: u64,
) -> Result<DownloadBody, BackendError> {
    let unusable = |kind, message: &str| BackendError::new(kind, Certainty::NotSent, message);
    let backend = plane.backends.get(copy.backend);
    let backend =
        backend.ok_or_else(|| unusable(BackendErrorKind::Connection, "not in this configuration"))?;
    let range = ByteRange { first: at - extent.offset, last: until - extent.offset - 1 };
    let whole = range.first == 0 && range.length() == extent.size;
    let if_match = (copy.foreign_key && !copy.backend_etag.is_empty()).then(|| Etag::new(&copy.backend_etag));
    let got = backend.get(&copy.storage_key, (!whole).then_some(range), if_match.as_ref()).await?;
    if got.content_length != range.length() || got.size != extent.size {
        return Err(unusable(BackendErrorKind::Mismatch, "the blob has another size than it should"));
    }
    Ok(got.body)
}

fn same(a: &LocatedCopy, b: &LocatedCopy) -> bool {
    a.backend == b.backend && a.storage_key == b.storage_key
}
