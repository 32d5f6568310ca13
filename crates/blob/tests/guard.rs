//! The guard's promise, for any chunking: what is not exactly what was promised never gets its last
//! byte out.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::executor::block_on;
use futures::{StreamExt as _, stream};
use proptest::prelude::*;
use s3o_blob::{Algorithm, AlgorithmSet, BodyFault, BodyHasher, DigestHasher, Expected, Guard, GuardVerdict};
use s3o_types::{Checksums, Digest, DigestKind};

type Item = Result<Bytes, std::io::Error>;

/// What came out before the end or the error, whether there was an error, and the verdict.
fn run(items: Vec<Item>, expected: Expected) -> (Vec<u8>, bool, GuardVerdict) {
    let (mut guard, verdict) = Guard::new(stream::iter(items), expected);
    let (mut out, mut failed) = (Vec::new(), false);
    block_on(async {
        while let Some(item) = guard.next().await {
            match item {
                Ok(chunk) => {
                    assert!(!failed, "bytes after the error");
                    out.extend_from_slice(&chunk);
                }
                Err(_) => failed = true,
            }
        }
    });
    (out, failed, verdict)
}

fn chunks(body: &[u8], cuts: &[usize]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = body;
    for cut in cuts {
        let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
        items.push(Ok(Bytes::copy_from_slice(chunk)));
        rest = tail;
    }
    items.push(Ok(Bytes::copy_from_slice(rest)));
    items
}

fn all() -> AlgorithmSet {
    Algorithm::ALL.into_iter().collect()
}

/// Everything a client can say of a body, said rightly.
fn expected(body: &[u8]) -> Expected {
    let digests = BodyHasher::digest(body, all());
    let sha256 = aws_sha256(body);
    let trailer = BTreeMap::from([(
        "crc64nvme".to_owned(),
        digests.checksum(Algorithm::Crc64nvme).unwrap().to_owned(),
    )]);
    let values = digests.checksums.values.into_iter().filter(|(name, _)| name != "crc64nvme").collect();
    Expected {
        size: body.len() as u64,
        md5: digests.md5,
        sha256: Some(sha256),
        checksums: Checksums { values },
        known: Checksums::default(),
        also: AlgorithmSet::NONE,
        digest: Some(digest_of(body, DigestKind::Sha256)),
        keep: Some(DigestKind::Crc64Nvme),
        trailers: AlgorithmSet::NONE.with(Algorithm::Crc64nvme),
        trailer_source: Some(Box::new(move || Ok(trailer))),
    }
}

fn digest_of(body: &[u8], kind: DigestKind) -> Digest {
    let mut hasher = DigestHasher::new(kind);
    hasher.update(body);
    hasher.finish()
}

fn aws_sha256(body: &[u8]) -> [u8; 32] {
    use base64::Engine as _;
    let digests = BodyHasher::digest(body, AlgorithmSet::NONE.with(Algorithm::Sha256));
    let text = digests.checksum(Algorithm::Sha256).unwrap();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap().try_into().unwrap()
}

proptest! {
    #[test]
    fn a_right_body_passes_whole(body in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(0..50_usize, 0..9)) {
        let (out, failed, verdict) = run(chunks(&body, &cuts), expected(&body));
        prop_assert!(!failed);
        prop_assert_eq!(&out, &body);
        prop_assert_eq!(verdict.digests().and_then(|digests| digests.digest), Some(digest_of(&body, DigestKind::Crc64Nvme)));
        prop_assert_eq!(verdict.digests().and_then(s3o_blob::BodyDigests::etag), BodyHasher::digest(&body, AlgorithmSet::NONE).etag());
    }

    #[test]
    fn a_flipped_bit_never_completes(
        body in prop::collection::vec(any::<u8>(), 1..200),
        cuts in prop::collection::vec(0..50_usize, 0..9),
        at: prop::sample::Index,
        which in 0..5_usize,
    ) {
        let mut bad = body.clone();
        bad[at.index(body.len())] ^= 1;
        // Each kind of expectation alone is enough.
        let mut expected = expected(&body);
        if which != 0 { expected.md5 = None; }
        if which != 1 { expected.sha256 = None; }
        if which != 2 { expected.checksums = Checksums::default(); }
        if which != 3 { (expected.trailers, expected.trailer_source) = (AlgorithmSet::NONE, None); }
        if which != 4 { expected.digest = None; }
        let (out, failed, verdict) = run(chunks(&bad, &cuts), expected);
        prop_assert!(failed && out.len() < body.len());
        let named = match (which, verdict.fault()) {
            (0, Some(BodyFault::BadMd5)) | (1, Some(BodyFault::BadSha256)) | (2, Some(BodyFault::BadChecksum(_))) => true,
            (4, Some(BodyFault::BadDigest(kind))) => *kind == DigestKind::Sha256,
            (3, Some(BodyFault::BadChecksum(algorithm))) => *algorithm == Algorithm::Crc64nvme,
            _ => false,
        };
        prop_assert!(named, "{verdict:?}");
    }

    #[test]
    fn a_wrong_length_never_completes(
        body in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(0..50_usize, 0..9),
        size in 0..250_u64,
    ) {
        prop_assume!(size != body.len() as u64);
        let (out, failed, verdict) = run(chunks(&body, &cuts), Expected::of_size(size));
        prop_assert!(failed && (size == 0 || (out.len() as u64) < size));
        let seen = body.len() as u64;
        match verdict.fault() {
            Some(BodyFault::ShortBody { expected, seen: s }) => prop_assert!(*expected == size && *s == seen && seen < size),
            Some(BodyFault::LongBody { expected }) => prop_assert!(*expected == size && seen > size),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_broken_source_never_completes(body in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(0..50_usize, 0..9)) {
        let mut items = chunks(&body, &cuts);
        items.push(Err(std::io::Error::other("gone")));
        let (out, failed, verdict) = run(items, Expected::of_size(body.len() as u64));
        prop_assert!(failed && (body.is_empty() || out.len() < body.len()));
        prop_assert!(matches!(verdict.fault(), Some(BodyFault::Source(error)) if error.to_string() == "gone"));
    }
}

#[test]
fn a_trailer_must_come_and_be_readable() {
    let body = b"body";
    let with = |trailer_source| Expected {
        trailers: AlgorithmSet::NONE.with(Algorithm::Crc32),
        trailer_source,
        ..Expected::of_size(4)
    };
    for source in
        [None, Some(Box::new(|| Ok(BTreeMap::new())) as _), Some(Box::new(|| Err("cut".to_owned())) as _)]
    {
        let (out, failed, verdict) = run(vec![Ok(Bytes::from_static(body))], with(source));
        assert!(failed && out.is_empty());
        assert!(matches!(verdict.fault(), Some(BodyFault::BadTrailer(_))), "{verdict:?}");
    }
}

#[test]
fn what_is_known_is_compared_and_not_told() {
    let crc32c = BodyHasher::digest(b"abc", AlgorithmSet::NONE.with(Algorithm::Crc32c)).checksums;
    let of = |body: &[u8]| {
        let also = AlgorithmSet::NONE.with(Algorithm::Sha256);
        let expected = Expected { known: crc32c.clone(), also, ..Expected::of_size(3) };
        run(chunks(body, &[1]), expected)
    };
    let (out, failed, verdict) = of(b"abc");
    assert!(out == b"abc" && !failed);
    let told = verdict.digests().unwrap().checksums.values.keys().cloned().collect::<Vec<_>>();
    assert_eq!(told, ["sha256"]);
    let (out, failed, verdict) = of(b"abd");
    assert!(out.len() < 3 && failed);
    assert!(matches!(verdict.fault(), Some(BodyFault::BadChecksum(Algorithm::Crc32c))));
}

#[test]
fn an_empty_body_is_verified_before_its_end() {
    let wrong = Expected { md5: Some([0; 16]), ..Expected::of_size(0) };
    let (_, failed, verdict) = run(vec![], wrong);
    assert!(failed && matches!(verdict.fault(), Some(BodyFault::BadMd5)));
    assert!(!run(vec![], expected(b"")).1);
}

#[test]
fn without_an_md5_the_hop_has_a_crc() {
    let guarded = |expected: Expected| {
        Guard::new(stream::iter(vec![Item::Ok(Bytes::from_static(b"123456789"))]), expected)
    };
    let (mut guard, verdict) = guarded(Expected::of_size(9));
    assert!(guard.skip_md5(true) && !guard.skip_md5(false) && guard.skip_md5(true), "nothing was seen yet");
    assert!(block_on(guard.next()).is_some_and(|chunk| chunk.is_ok()));
    let digests = verdict.digests().unwrap();
    // The check value of CRC-64/NVME, ae8b14860a799888.
    assert_eq!((digests.md5, digests.hop.as_deref()), (None, Some("rosUhgp5mIg=")));
    assert!(digests.checksums.values.is_empty(), "nobody asked for it");
    assert_eq!(digests.digest, None, "nor to keep one");
    let keep = Some(DigestKind::Crc64Nvme);
    let (mut kept, verdict) = guarded(Expected { keep, ..Expected::of_size(9) });
    kept.skip_md5(true);
    assert!(block_on(kept.next()).is_some_and(|chunk| chunk.is_ok()));
    let digests = verdict.digests().unwrap();
    assert!(digests.hop.is_some() && digests.digest == Some(digest_of(b"123456789", DigestKind::Crc64Nvme)));
    assert!(digests.checksums.values.is_empty(), "it is not the client's");
    assert!(guard.skip_md5(true) && !guard.skip_md5(false), "too late for another");

    let (mut guard, _) = guarded(Expected { md5: Some([0; 16]), ..Expected::of_size(9) });
    assert!(!guard.skip_md5(true), "the client's MD5 must be compared");
    let (mut guard, verdict) =
        guarded(Expected { also: AlgorithmSet::NONE.with(Algorithm::Crc64nvme), ..Expected::of_size(9) });
    assert!(guard.skip_md5(true));
    assert!(block_on(guard.next()).is_some_and(|chunk| chunk.is_ok()));
    assert_eq!(verdict.digests().unwrap().checksum(Algorithm::Crc64nvme), Some("rosUhgp5mIg="));
    let (mut guard, verdict) = guarded(Expected::of_size(9));
    assert!(block_on(guard.next()).is_some());
    assert!(!guard.skip_md5(true) && verdict.digests().unwrap().md5.is_some(), "too late");
}
