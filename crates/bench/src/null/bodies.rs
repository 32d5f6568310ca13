//! Bodies, each distinct one kept once.
//!
//! MD5 runs at some 0.6 GB/s a core and would make the backend the slowest part of what is measured.
//! So an incoming body is compared, chunk by chunk, with the known bodies of its length and beginning;
//! one that turns out to be equal has that body's digest, one that differs is collected and hashed.
//!
//! Invariant: two bodies share a digest only when every byte was compared and found equal.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use md5::{Digest as _, Md5};

/// What candidates are found by: the first bytes of a body, at most this many.
const HEAD: usize = 4096;

/// Known bodies that no object has are dropped when all together are larger than this.
const KEPT_BYTES: u64 = 1 << 30;

/// A body and its `ETag`.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// In quotation marks.
    pub(super) etag: HeaderValue,
    /// Base64.
    pub(super) crc64nvme: HeaderValue,
}

/// Length and hash of the beginning.
type Likeness = (u64, u64);

/// Every body that was seen.
#[derive(Debug, Default)]
pub(super) struct Bodies(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    by_likeness: HashMap<Likeness, Vec<Arc<Body>>>,
    bytes: u64,
}

impl Bodies {
    fn alike(&self, length: u64, head: &[u8]) -> Vec<Arc<Body>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let alike = known.by_likeness.get(&(length, hash(head)));
        alike.into_iter().flatten().filter(|body| body.bytes.starts_with(head)).cloned().collect()
    }

    /// Hashes a body and keeps it, unless an equal one is known by now.
    fn remember(&self, bytes: Bytes) -> Arc<Body> {
        let etag = format!("\"{}\"", hex::encode(Md5::digest(&bytes)));
        let etag = HeaderValue::try_from(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        let crc = BASE64.encode(hash(&bytes).to_be_bytes());
        let crc64nvme = HeaderValue::try_from(crc).unwrap_or_else(|_| HeaderValue::from_static(""));
        let length = bytes.len() as u64;
        let likeness = (length, hash(&bytes[..bytes.len().min(HEAD)]));
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let twins = known.by_likeness.entry(likeness).or_default();
        if let Some(twin) = twins.iter().find(|twin| twin.bytes == bytes) {
            return Arc::clone(twin);
        }
        let body = Arc::new(Body { bytes, etag, crc64nvme });
        twins.push(Arc::clone(&body));
        known.bytes += length;
        if known.bytes > KEPT_BYTES {
            known.drop_unused();
        }
        body
    }
}

impl Known {
    fn drop_unused(&mut self) {
        self.by_likeness.retain(|_, bodies| {
            bodies.retain(|body| Arc::strong_count(body) > 1);
            !bodies.is_empty()
        });
        self.bytes = self.by_likeness.values().flatten().map(|body| body.bytes.len() as u64).sum();
    }
}

/// Finds candidates only; equality is decided by comparing.
fn hash(head: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, head)
}

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    bodies: &'a Bodies,
    /// As the request said; `None` when it did not.
    length: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Fewer than [`HEAD`] bytes of it are here.
    Head(BytesMut),
    /// It was equal to each of these so far.
    Matching { candidates: Vec<Arc<Body>>, offset: usize },
    /// It is new.
    Collecting(BytesMut),
}

impl<'a> Intake<'a> {
    pub(super) fn new(bodies: &'a Bodies, length: Option<u64>) -> Self {
        Self { bodies, length, state: State::Head(BytesMut::new()) }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        match &mut self.state {
            State::Head(head) => {
                let wanted =
                    self.length.map_or(HEAD, |length| HEAD.min(usize::try_from(length).unwrap_or(HEAD)));
                let (first, rest) = chunk.split_at(chunk.len().min(wanted.saturating_sub(head.len())));
                if head.is_empty() && first.len() == wanted {
                    self.state = self.look_up(first);
                } else {
                    head.extend_from_slice(first);
                    if head.len() < wanted {
                        return;
                    }
                    let head = std::mem::take(head);
                    self.state = self.look_up(&head);
                }
                if !rest.is_empty() {
                    self.push(rest);
                }
            }
            State::Matching { candidates, offset } => {
                let Some(last) = candidates.last().cloned() else { return };
                let end = *offset + chunk.len();
                candidates.retain(|body| body.bytes.get(*offset..end) == Some(chunk));
                if candidates.is_empty() {
                    // It was equal to `last` until here.
                    let mut collected = BytesMut::with_capacity(last.bytes.len());
                    collected.extend_from_slice(&last.bytes[..*offset]);
                    collected.extend_from_slice(chunk);
                    self.state = State::Collecting(collected);
                } else {
                    *offset = end;
                }
            }
            State::Collecting(collected) => collected.extend_from_slice(chunk),
        }
    }

    fn look_up(&self, head: &[u8]) -> State {
        let candidates = self.length.map(|length| self.bodies.alike(length, head)).unwrap_or_default();
        if candidates.is_empty() {
            State::Collecting(BytesMut::from(head))
        } else {
            State::Matching { candidates, offset: head.len() }
        }
    }

    /// The body, after its last chunk.
    pub(super) fn end(self) -> Result<Arc<Body>> {
        let (body, bytes) = match self.state {
            State::Head(bytes) | State::Collecting(bytes) => (None, bytes.freeze()),
            State::Matching { candidates, offset } => {
                let whole = candidates.into_iter().next().filter(|body| body.bytes.len() == offset);
                ensure!(whole.is_some(), "the body ended early");
                (whole, Bytes::new())
            }
        };
        if let Some(body) = body {
            return Ok(body);
        }
        ensure!(self.length.is_none_or(|length| length == bytes.len() as u64), "the body ended early");
        Ok(self.bodies.remember(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bodies: &Bodies, body: &[u8], chunk: usize) -> Arc<Body> {
        let mut intake = Intake::new(bodies, Some(body.len() as u64));
        body.chunks(chunk.max(1)).for_each(|chunk| intake.push(chunk));
        intake.end().expect("a whole body")
    }

    fn md5(body: &[u8]) -> String {
        format!("\"{}\"", hex::encode(Md5::digest(body)))
    }

    #[test]
    fn every_body_has_its_own_md5_however_it_is_cut() {
        let bodies = Bodies::default();
        let mut shared = vec![7_u8; 20_000];
        let mut set = vec![shared.clone()];
        // Equal beginnings of 4 KiB, one other byte: near, in the middle, at the end.
        for at in [4096, 12_345, 19_999] {
            shared[at] ^= 1;
            set.push(shared.clone());
        }
        set.extend([vec![], vec![1], vec![7; 4095], vec![7; 4096], vec![7; 4097]]);
        for round in 0..2 {
            for body in &set {
                for chunk in [1, 100, 4095, 4096, 4097, 8192, 1 << 20] {
                    let taken = take(&bodies, body, chunk);
                    assert_eq!(taken.bytes, body[..], "round {round}");
                    assert_eq!(taken.etag, md5(body), "round {round}, {} bytes by {chunk}", body.len());
                }
            }
        }
        let kept: usize = bodies.0.read().expect("a lock").by_likeness.values().map(Vec::len).sum();
        assert_eq!(kept, set.len(), "each is kept once");
    }

    #[test]
    fn a_known_body_is_not_kept_again_while_it_comes_in() {
        let bodies = Bodies::default();
        let body = vec![3; 100_000];
        let first = take(&bodies, &body, 10_000);
        let mut intake = Intake::new(&bodies, Some(100_000));
        body.chunks(10_000).for_each(|chunk| intake.push(chunk));
        assert!(matches!(intake.state, State::Matching { .. }));
        assert!(Arc::ptr_eq(&first, &intake.end().expect("whole")));
    }

    #[test]
    fn a_short_body_is_no_body() {
        let bodies = Bodies::default();
        let body = vec![9; 10_000];
        take(&bodies, &body, 10_000);
        for part in [0, 100, 5000, 9999] {
            let mut intake = Intake::new(&bodies, Some(10_000));
            intake.push(&body[..part]);
            assert!(intake.end().is_err(), "{part}");
        }
        let mut unknown_length = Intake::new(&bodies, None);
        unknown_length.push(&body);
        assert_eq!(unknown_length.end().expect("whole").etag, md5(&body));
    }

    #[test]
    fn unused_bodies_are_forgotten() {
        let mut known = Known::default();
        let body = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            Arc::new(Body {
                bytes: Bytes::from_static(text.as_bytes()),
                etag: value.clone(),
                crc64nvme: value,
            })
        };
        let (kept, loose) = (body("a"), body("b"));
        known.by_likeness.insert((1, 1), vec![Arc::clone(&kept), loose]);
        known.drop_unused();
        assert_eq!((known.bytes, known.by_likeness.len()), (1, 1));
    }
}
