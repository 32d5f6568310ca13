//! Opening an extent: which copy gives the bytes from an offset on.
//!
//! Invariants: all bytes are of the one version that was located; a version of which every copy is gone is told apart
//! from one that cannot be read now. Nothing is kept between two openings but what the reader passes in: so the next
//! extent can be opened while the one before it is read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use s3o_backend::{BackendError, BackendErrorKind, ByteRange, Certainty, DownloadBody};
use s3o_types::{BucketId, ErrorCode, Etag, VersionId};

use super::hedge::first_of;
use crate::control::{Caller, Failure, LocatedCopy, LocatedExtent, Want};
use crate::plane::Plane;

/// The pause before the same copy is tried again.
const SAME_COPY_PAUSE: Duration = Duration::from_millis(200);
/// How long a copy is waited for while there is another one to be read. Clouds begin within a second also under load, and
/// clients give up after a minute or much less: the whole limit (`timeouts.backend_response`) is for who comes last. Above
/// [`s3o_backend::STOOD_STILL`], so that it counts against the backend.
const NEXT_COPY_AFTER: Duration = Duration::from_secs(5);
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

/// An extent that gives bytes.
pub(super) struct Opened {
    pub body: DownloadBody,
    pub copy: LocatedCopy,
    pub extent: LocatedExtent,
    /// Its first byte, as an offset into the object.
    pub at: u64,
    /// Where in the object its bytes end.
    pub until: u64,
    /// The extents that were located on the way; `None`: those that were known had it.
    pub located: Option<Arc<[LocatedExtent]>>,
}

impl Opened {
    /// Whether all of the extent is read, so that its digest can be compared.
    pub(super) fn is_whole(&self) -> bool {
        self.at == self.extent.offset && self.until == self.extent.offset + self.extent.size
    }
}

/// Opens extents of one version.
pub(super) struct Opener {
    pub plane: Arc<Plane>,
    pub source: Source,
    pub version: VersionId,
}

impl Opener {
    /// Asks the copies of the extent at `at`, best first and `failed` last, until one answers. Nothing behind `end` is
    /// wanted.
    pub(super) async fn open(
        &self,
        known: &[LocatedExtent],
        (at, end): (u64, u64),
        failed: Option<&LocatedCopy>,
    ) -> Result<Opened, ReadError> {
        let (located, extent) = if let Some(extent) = covering(known, at) {
            (None, extent.clone())
        } else {
            let more = self.locate(at, end).await?;
            let extent = covering(&more, at).cloned().ok_or(ReadError::Unavailable)?;
            (Some(more), extent)
        };
        let until = (extent.offset + extent.size).min(end);
        let copies = self.in_order(&extent, failed);
        let started = Instant::now();
        let answered = match self.ask(&extent, &copies, (at, until), failed).await {
            // A connection that was just closed is no reason to fail a reader; a backend that keeps it waiting is.
            Err(ReadError::Unavailable) if started.elapsed() < WORTH_ANOTHER_ROUND => {
                tokio::time::sleep(SAME_COPY_PAUSE).await;
                self.ask(&extent, &copies, (at, until), failed).await
            }
            decided => decided,
        };
        let (body, copy) = answered?;
        Ok(Opened { body, copy, extent, at, until, located })
    }

    /// One round over the copies. Those that did not answer in time are asked again when all others have failed.
    async fn ask(
        &self,
        extent: &LocatedExtent,
        copies: &[LocatedCopy],
        (at, until): (u64, u64),
        failed: Option<&LocatedCopy>,
    ) -> Result<(DownloadBody, LocatedCopy), ReadError> {
        let (mut gone, mut lacking) = (0, Vec::new());
        // A copy to ask, and behind it those that may be asked in its place.
        let mut turns: VecDeque<_> = (0..copies.len()).map(|n| &copies[n..]).collect();
        while let Some(turn) = turns.pop_front() {
            let Some((copy, others)) = turn.split_first() else { continue };
            if failed.is_some_and(|failed| same(failed, copy)) {
                tokio::time::sleep(SAME_COPY_PAUSE).await;
            }
            let now = Instant::now();
            let has_other = others.iter().any(|other| is_readable(&self.plane, other, now));
            let answer = Box::pin(first_of(&self.plane, turn, failed, (extent, at, until)));
            let error = match within(has_other.then_some(NEXT_COPY_AFTER), answer).await {
                Ok((body, copy)) => {
                    lacking.into_iter().for_each(|copy| self.report(copy));
                    return Ok((body, copy.clone()));
                }
                Err(error) => error,
            };
            tracing::warn!(backend = copy.backend.0, key = copy.storage_key, %error, "a copy cannot be read");
            match error.kind {
                BackendErrorKind::Timeout if has_other => turns.push_back(std::slice::from_ref(copy)),
                BackendErrorKind::NotFound | BackendErrorKind::Mismatch => {
                    gone += usize::from(error.kind == BackendErrorKind::NotFound);
                    lacking.push(copy);
                }
                _ => {}
            }
        }
        // All copies must say so, those that this release cannot read included.
        Err(if gone == extent.copies.len() && gone > 0 { ReadError::Gone } else { ReadError::Unavailable })
    }

    /// A worker is told of a copy that is not what its row says, once; until it has looked, other copies are read first.
    pub(super) fn report(&self, copy: &LocatedCopy) {
        let Self { plane, source, version } = self;
        if !plane.suspects.note(copy, Instant::now()) {
            return;
        }
        let (source, version) = (source.clone(), *version);
        plane.shutdown.spawn(async move {
            let Source { caller, bucket, key } = source;
            if let Err(failure) = caller.anew().report_corruption(bucket, &key, version).await {
                tracing::warn!(?failure, key, "a bad copy could not be told of");
            }
        });
    }

    /// Extents of the same version, which may have been replaced meanwhile: then they are there for as long as displaced
    /// blobs are.
    pub(super) async fn locate(&self, at: u64, end: u64) -> Result<Arc<[LocatedExtent]>, ReadError> {
        let Source { caller, bucket, key } = &self.source;
        let want = Want::Of(self.version, at, end);
        match caller.anew().locate_further(*bucket, key, want).await {
            Ok(located) if located.version == self.version => Ok(located.extents.into()),
            // Gone; or a control plane of before this call answers with the current version, whichever that is.
            Ok(_) | Err(Failure::Refused { code: ErrorCode::NoSuchKey, .. } | Failure::Marker { .. }) => {
                Err(ReadError::Gone)
            }
            Err(failure) => {
                tracing::warn!(?failure, at, "the extents cannot be located");
                Err(ReadError::Unavailable)
            }
        }
    }

    /// The copies this release can read: verified before uncertain, up before down, those of backends whose month is not
    /// used up before others, fast before slow, and what just failed last.
    fn in_order(&self, extent: &LocatedExtent, failed: Option<&LocatedCopy>) -> Vec<LocatedCopy> {
        let (now, spent) = (Instant::now(), self.plane.spent.load());
        let mut copies: Vec<_> =
            extent.copies.iter().filter(|copy| copy.encoding.is_plain()).cloned().collect();
        copies.sort_by_cached_key(|copy| {
            let backend = self.plane.backends.get(copy.backend);
            let is_up = is_readable(&self.plane, copy, now);
            let latency = backend.and_then(|backend| backend.health().latency()).unwrap_or_default();
            let has_failed = failed.is_some_and(|failed| same(failed, copy));
            let is_suspect = self.plane.suspects.contains(copy, now);
            let is_spent = spent.contains(&copy.backend);
            (has_failed, is_suspect, copy.uncertain, !is_up, is_spent, latency)
        });
        copies
    }
}

/// The extent that has the byte.
pub(super) fn covering(extents: &[LocatedExtent], at: u64) -> Option<&LocatedExtent> {
    extents.iter().find(|extent| (extent.offset..extent.offset + extent.size).contains(&at))
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

/// `answer`, if it comes within the limit, where there is one.
async fn within<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    let Some(limit) = limit else { return answer.await };
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s, and there is another copy", limit.as_secs());
        Err(BackendError::new(BackendErrorKind::Timeout, Certainty::NotSent, message))
    })
}

/// Whether the copy's backend is up, as readers see it.
pub(super) fn is_readable(plane: &Plane, copy: &LocatedCopy, now: Instant) -> bool {
    plane.backends.get(copy.backend).is_some_and(|backend| backend.health().is_readable(now))
}

pub(super) fn same(a: &LocatedCopy, b: &LocatedCopy) -> bool {
    a.backend == b.backend && a.storage_key == b.storage_key
}
