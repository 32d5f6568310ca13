//! THE GUARD: a body's last chunk leaves only when the whole body is known to be right.
//!
//! Invariant: until the source has ended, its length is the promised one and every expected digest
//! matches, fewer bytes than promised have been handed out. A backend that was promised `size` bytes
//! can therefore not complete a bad object. At most one chunk is held at any time.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use s3o_types::{Checksums, Digest, DigestKind};

use crate::digest::{Algorithm, AlgorithmSet, BodyDigests, BodyHasher};

/// Reads the checksums of the trailer, by algorithm name, base64. Called once, after the source
/// ended; an error is why the trailer could not be read.
pub type TrailerSource = Box<dyn FnOnce() -> Result<BTreeMap<String, String>, String> + Send>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the client said of the body before sending it.
#[derive(Default)]
pub struct Expected {
    /// Bytes.
    pub size: u64,
    /// `Content-MD5`, raw.
    pub md5: Option<[u8; 16]>,
    /// `x-amz-content-sha256` where it is a hash, raw.
    pub sha256: Option<[u8; 32]>,
    /// `x-amz-checksum-…` sent as headers, base64.
    pub checksums: Checksums,
    /// Checksums that the bytes are known to have, base64: compared, and not among the digests.
    pub known: Checksums,
    /// Algorithms to compute besides those that are compared: those of the trailer, or one the
    /// client only asked for.
    pub also: AlgorithmSet,
    /// The digest that the bytes are known to have, from when they were written before.
    pub digest: Option<Digest>,
    /// The digest to compute, for whoever reads the bytes later.
    pub keep: Option<DigestKind>,
    /// Algorithms whose value the trailer must bring.
    pub trailers: AlgorithmSet,
    /// Where the trailer is read.
    pub trailer_source: Option<TrailerSource>,
}

impl Expected {
    /// Only a length.
    pub fn of_size(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// All that are computed.
    fn computed(&self) -> AlgorithmSet {
        let kinds = self.digest.map(|digest| digest.kind()).into_iter().chain(self.keep);
        let known = self.known.values.keys().filter_map(|name| Algorithm::from_name(name));
        kinds.map(Algorithm::of_kind).chain(known).fold(self.algorithms(), AlgorithmSet::with)
    }

    /// Those that are the client's to see.
    fn algorithms(&self) -> AlgorithmSet {
        Algorithm::ALL
            .into_iter()
            .filter(|&a| {
                let compared = self.checksums.values.contains_key(a.name()) || self.trailers.contains(a);
                compared || self.also.contains(a) || (a == Algorithm::Sha256 && self.sha256.is_some())
            })
            .collect()
    }
}

/// What was wrong with the body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BodyFault {
    /// It ended early.
    #[error("the body has {seen} bytes, {expected} were promised")]
    ShortBody {
        /// Promised.
        expected: u64,
        /// Arrived.
        seen: u64,
    },
    /// It went on.
    #[error("the body has more than the {expected} bytes that were promised")]
    LongBody {
        /// Promised.
        expected: u64,
    },
    /// Not what `Content-MD5` says.
    #[error("the body does not match its Content-MD5")]
    BadMd5,
    /// Not what `x-amz-content-sha256` says.
    #[error("the body does not match its x-amz-content-sha256")]
    BadSha256,
    /// Not what a checksum, of header or trailer, says.
    #[error("the body does not match its {} checksum", .0.name())]
    BadChecksum(Algorithm),
    /// Not what was kept of it when it was written.
    #[error("the body does not match the {} that was kept of it", .0.as_str())]
    BadDigest(DigestKind),
    /// The trailer does not bring what was announced, or cannot be read.
    #[error("trailer: {0}")]
    BadTrailer(String),
    /// The source failed.
    #[error("the body broke off: {0}")]
    Source(Arc<dyn std::error::Error + Send + Sync>),
}

/// The error the guard puts in the place of the last chunk. The reason is in the [`GuardVerdict`] too,
/// since HTTP clients report body errors as connection failures.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct GuardError(#[from] pub BodyFault);

/// Where the guard says how it ended; clones share one cell.
#[derive(Clone, Default)]
pub struct GuardVerdict(Arc<OnceLock<Result<BodyDigests, BodyFault>>>);

impl GuardVerdict {
    /// `None` while the body has not ended: whoever reads it saw the request fail for another reason.
    pub fn get(&self) -> Option<&Result<BodyDigests, BodyFault>> {
        self.0.get()
    }

    /// The digests of a body that passed.
    pub fn digests(&self) -> Option<&BodyDigests> {
        self.0.get().and_then(|verdict| verdict.as_ref().ok())
    }

    /// The fault of a body that did not.
    pub fn fault(&self) -> Option<&BodyFault> {
        self.0.get().and_then(|verdict| verdict.as_ref().err())
    }

    fn publish(&self, verdict: Result<BodyDigests, BodyFault>) {
        // The guard ends once; a second verdict would be a bug and must not overwrite the first.
        let _ = self.0.set(verdict);
    }
}

impl fmt::Debug for GuardVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardVerdict").field(&self.get()).finish()
    }
}

/// Wraps a body of known length. See the module.
pub struct Guard<S> {
    source: S,
    expected: Expected,
    hasher: Option<BodyHasher>,
    /// The backend compares a CRC-64/NVME, and its ETag is taken for the MD5.
    by_hop: bool,
    held: Option<Bytes>,
    seen: u64,
    verdict: GuardVerdict,
}

impl<S> Guard<S> {
    /// Guards `source`. The verdict is read after the request that sends it.
    pub fn new(source: S, expected: Expected) -> (Self, GuardVerdict) {
        let verdict = GuardVerdict::default();
        let hasher = Some(BodyHasher::new(expected.computed()));
        let (held, seen, by_hop) = (None, 0, false);
        (Self { source, expected, hasher, by_hop, held, seen, verdict: verdict.clone() }, verdict)
    }

    /// Whether to compute a CRC-64/NVME in the place of the MD5, for a backend that compares that and answers
    /// with the MD5. Says whether the digests will have it: not if the MD5 is expected; and once a byte was seen,
    /// what was chosen before stays.
    pub fn skip_md5(&mut self, skip: bool) -> bool {
        if self.seen == 0 && self.hasher.is_some() {
            self.by_hop = skip && self.expected.md5.is_none();
            let algorithms = self.expected.computed();
            self.hasher = Some(if self.by_hop {
                BodyHasher::without_md5(algorithms.with(Algorithm::Crc64nvme))
            } else {
                BodyHasher::new(algorithms)
            });
        }
        self.by_hop && skip
    }

    /// The promised length in bytes.
    pub fn size(&self) -> u64 {
        self.expected.size
    }

    /// Ends with a fault: what is held is never released.
    fn fail(&mut self, fault: BodyFault) -> GuardError {
        self.held = None;
        self.hasher = None;
        self.verdict.publish(Err(fault.clone()));
        GuardError(fault)
    }

    /// Takes a chunk in; gives out the one held before.
    fn accept(&mut self, chunk: Bytes) -> Result<Option<Bytes>, GuardError> {
        self.seen += chunk.len() as u64;
        if self.seen > self.expected.size {
            return Err(self.fail(BodyFault::LongBody { expected: self.expected.size }));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        Ok(self.held.replace(chunk))
    }

    /// The source ended: decides whether the last chunk may leave.
    fn conclude(&mut self, hasher: BodyHasher) -> Result<Option<Bytes>, GuardError> {
        if self.seen < self.expected.size {
            let fault = BodyFault::ShortBody { expected: self.expected.size, seen: self.seen };
            return Err(self.fail(fault));
        }
        let mut digests = hasher.finish();
        if self.by_hop {
            digests.hop = digests.checksums.values.get(Algorithm::Crc64nvme.name()).cloned();
        }
        if let Some(known) = self.expected.digest
            && digests.digest_of(known.kind()) != Some(known)
        {
            return Err(self.fail(BodyFault::BadDigest(known.kind())));
        }
        if let Err(fault) = compare_all(&self.expected.known.values, &digests) {
            return Err(self.fail(fault));
        }
        digests.digest = self.expected.keep.and_then(|kind| digests.digest_of(kind));
        let shown = self.expected.algorithms();
        digests
            .checksums
            .values
            .retain(|name, _| Algorithm::from_name(name).is_some_and(|a| shown.contains(a)));
        match compare(&mut self.expected, &digests) {
            Ok(()) => {
                self.verdict.publish(Ok(digests));
                Ok(self.held.take())
            }
            Err(fault) => Err(self.fail(fault)),
        }
    }
}

fn compare(expected: &mut Expected, digests: &BodyDigests) -> Result<(), BodyFault> {
    if expected.md5.is_some() && expected.md5 != digests.md5 {
        return Err(BodyFault::BadMd5);
    }
    if expected.sha256.is_some_and(|sha256| !same(digests, Algorithm::Sha256, &base64_of(&sha256))) {
        return Err(BodyFault::BadSha256);
    }
    compare_all(&expected.checksums.values, digests)?;
    let Some(source) = expected.trailer_source.take() else {
        return if expected.trailers == AlgorithmSet::NONE {
            Ok(())
        } else {
            Err(BodyFault::BadTrailer("there is none".to_owned()))
        };
    };
    let values = source().map_err(BodyFault::BadTrailer)?;
    let missing = |a: &Algorithm| expected.trailers.contains(*a) && !values.contains_key(a.name());
    if let Some(algorithm) = Algorithm::ALL.iter().find(|a| missing(a)) {
        return Err(BodyFault::BadTrailer(format!("x-amz-checksum-{} is missing", algorithm.name())));
    }
    compare_all(&values, digests)
}

fn compare_all(values: &BTreeMap<String, String>, digests: &BodyDigests) -> Result<(), BodyFault> {
    for (name, value) in values {
        // A checksum we did not compute cannot be vouched for: it is refused, never passed over.
        let algorithm = Algorithm::from_name(name)
            .ok_or_else(|| BodyFault::BadTrailer(format!("unknown checksum `{name}`")))?;
        if !same(digests, algorithm, value) {
            return Err(BodyFault::BadChecksum(algorithm));
        }
    }
    Ok(())
}

fn same(digests: &BodyDigests, algorithm: Algorithm, value: &str) -> bool {
    digests.checksum(algorithm) == Some(value.trim())
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

impl<S, E> Stream for Guard<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, GuardError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while this.hasher.is_some() {
            let step = match ready!(Pin::new(&mut this.source).poll_next(cx)) {
                // An empty chunk held back would hold back nothing.
                Some(Ok(chunk)) if chunk.is_empty() => Ok(None),
                Some(Ok(chunk)) => this.accept(chunk),
                Some(Err(error)) => Err(this.fail(BodyFault::Source(Arc::from(error.into())))),
                None => match this.hasher.take() {
                    Some(hasher) => this.conclude(hasher),
                    None => Ok(None),
                },
            };
            match step {
                Ok(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }
}
