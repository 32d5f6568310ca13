//! A read: bytes of a version from whichever copy gives them.
//!
//! Invariants: all bytes are of the one version that was located; the stream ends without an error
//! only after exactly the bytes that were asked for. A copy that breaks off is replaced by another at
//! the offset reached, and when none is left, it is asked where the version is by now. Of an extent that is read whole the
//! last chunk leaves only when all of it is what was written.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt as _;
use s3o_backend::DownloadBody;

use super::ahead::{Ahead, Pace};
use super::body::ByteStream;
use super::extent::{Opened, Opener, covering};
use super::pieces::{PieceHasher, Pieces};
use super::setbacks::{ENOUGH, Setbacks};
use super::verify::{ExtentCheck, Wrong};
use super::{BoxError, audit};
use crate::control::{Located, LocatedCopy, LocatedExtent};
use crate::ops::range::Slice;
use crate::plane::Plane;

pub(crate) use super::extent::{ReadError, Source};

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
    if let Some(open) = &reader.open {
        let Source { caller, key, .. } = &reader.opener.source;
        audit::read(plane, caller, key, &open.copy, slice.len());
    }
    Ok(Box::pin(futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    })))
}

/// Reads a version without waiting for the first answer: for copies, whose target waits. What is read whole is compared whatever
/// is configured: it is written anew, and counts as right from then on. What is read of others is told of.
pub(crate) fn lazily(
    plane: Arc<Plane>,
    source: Source,
    located: &Located,
    slice: Slice,
    pieces: Pieces,
) -> ByteStream {
    let (compares, pieces) = (true, Some(pieces));
    let reader = Reader { compares, pieces, ..Reader::new(plane, source, located, slice) };
    Box::pin(futures::stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    }))
}

/// What gives bytes now.
struct Open {
    body: DownloadBody,
    copy: LocatedCopy,
    /// Where in the object what it gives ends.
    until: u64,
    pace: Pace,
}

struct Reader {
    opener: Arc<Opener>,
    /// Those that cover what comes next, as far as they were located.
    extents: Arc<[LocatedExtent]>,
    /// The first byte of the object that is wanted.
    start: u64,
    /// The next one.
    at: u64,
    end: u64,
    open: Option<Open>,
    /// What comes behind that.
    ahead: Ahead,
    /// Whether an extent that is read whole is compared with its digest.
    compares: bool,
    /// The extent that is being read, where all of it is and its digest is known.
    check: Option<ExtentCheck>,
    /// Else what is read of it, where somebody asks for that.
    piece: Option<PieceHasher>,
    pieces: Option<Pieces>,
    /// Known to be right, and next to leave.
    ready: Option<Bytes>,
    /// The copy that failed last: tried last.
    failed: Option<LocatedCopy>,
    setbacks: Setbacks,
    /// Where the reader was when the version was located again.
    located_again: Option<u64>,
    done: bool,
}

impl Reader {
    fn new(plane: Arc<Plane>, source: Source, located: &Located, slice: Slice) -> Self {
        Self {
            compares: plane.verifies_reads(),
            opener: Arc::new(Opener { plane, source, version: located.version }),
            extents: located.extents.as_slice().into(),
            start: slice.start,
            at: slice.start,
            end: slice.end,
            open: None,
            ahead: Ahead::Nothing,
            check: None,
            piece: None,
            pieces: None,
            ready: None,
            failed: None,
            setbacks: Setbacks::default(),
            located_again: None,
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
                if self.locate_again().await {
                    continue;
                }
                self.done = true;
                return Some(Err(format!("no copy gives byte {}: {error:?}", self.at).into()));
            }
            self.look_ahead();
            let Some(open) = &mut self.open else { continue };
            match open.body.next().await {
                Some(Ok(chunk)) => {
                    let length = chunk.len() as u64;
                    open.pace.read(length);
                    self.at += length;
                    self.setbacks.moved(length);
                    let is_last = self.at >= open.until;
                    if let Some(piece) = &mut self.piece {
                        piece.take(&chunk);
                    }
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
                    let copy = open.copy.clone();
                    tracing::warn!(backend = copy.backend.0, at = self.at, ?error, "a copy broke off");
                    self.open = None;
                    if !self.may_go_on(copy) && !self.locate_again().await {
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
        let Open { copy, until, .. } = self.open.take()?;
        if let Some((piece, pieces)) = self.piece.take().zip(self.pieces.as_ref()) {
            piece.conclude(pieces);
        }
        let Some(check) = self.check.take() else {
            // The next extent has copies of its own.
            self.setbacks.is_through();
            return before.map(Ok);
        };
        let concluded = check.conclude();
        self.opener.plane.metrics.verified(concluded.is_ok());
        match concluded {
            Ok(last) => {
                self.setbacks.is_through();
                self.ready = last;
                before.or_else(|| self.ready.take()).map(Ok)
            }
            Err(Wrong { seen }) => {
                tracing::error!(backend = copy.backend.0, key = copy.storage_key, "a copy gave wrong bytes");
                self.opener.report(&copy);
                self.setbacks.was_wrong();
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

    /// Counts a failure.
    fn may_go_on(&mut self, copy: LocatedCopy) -> bool {
        self.failed = Some(copy);
        let copies = covering(&self.extents, self.at).map_or(0, |extent| extent.copies.len());
        self.setbacks.may_go_on(copies)
    }

    /// Nothing gives bytes of what was known: a copy may have been moved since, and its old blob be deleted. Says whether
    /// there is something to go on with. Again only after some progress.
    async fn locate_again(&mut self) -> bool {
        if self.located_again.is_some_and(|before| self.at < before.saturating_add(ENOUGH)) {
            return false;
        }
        self.located_again = Some(self.at);
        let Ok(extents) = self.opener.locate(self.at, self.end).await else { return false };
        let is_there = covering(&extents, self.at).is_some();
        if is_there {
            self.extents = extents;
            self.setbacks.begin_anew();
        }
        is_there
    }

    /// What was opened ahead, else whichever copy of the current extent answers.
    async fn connect(&mut self) -> Result<(), ReadError> {
        let opened = match self.ahead.take(self.at).await {
            Some(opened) => opened,
            None => self.opener.open(&self.extents, (self.at, self.end), self.failed.as_ref()).await?,
        };
        if opened.is_whole() && self.compares {
            self.check = opened.extent.proof().map(ExtentCheck::new);
        } else if self.pieces.is_some() && opened.at == opened.extent.offset.max(self.start) {
            self.piece = PieceHasher::new(&self.opener, &opened);
        }
        let Opened { body, copy, until, located, .. } = opened;
        if let Some(located) = located {
            self.extents = located;
        }
        self.open = Some(Open { body, copy, until, pace: Pace::begin(Instant::now()) });
        Ok(())
    }

    /// Begins with the next extent, once it is needed soon.
    fn look_ahead(&mut self) {
        let Some(Open { copy, until, pace, .. }) = &self.open else { return };
        if *until >= self.end || self.ahead.is_for(*until) {
            return;
        }
        let backend = self.opener.plane.backends.get(copy.backend);
        let first_byte = backend.and_then(|backend| backend.health().latency());
        if pace.is_soon(*until - self.at, first_byte, Instant::now()) {
            self.ahead.begin(&self.opener, &self.extents, (*until, self.end));
        }
    }
}
