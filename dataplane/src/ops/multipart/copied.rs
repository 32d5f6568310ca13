//! Parts that are ranges of other objects: a range of an extent can be compared with nothing when it is read, all of the extent
//! can. What the picked parts have whole between them is compared before it counts, without a byte being read again
//! (docs/adr/0016). This covers what copies a large object by its ranges: `aws s3 cp`, `boto3`'s `copy`, `rclone`.

use std::collections::BTreeMap;
use std::sync::Arc;

use s3o_blob::{Algorithm, ChecksumKind, parts};
use s3o_types::{CopiedPiece, VersionId};
use s3s::{S3Result, s3_error};

use crate::control::{Caller, StoredPart};
use crate::plane::Plane;

/// The copies of a source whose bytes were wrong are looked at by a worker.
pub(super) fn check(plane: &Arc<Plane>, caller: &Caller, picked: &[&StoredPart]) -> S3Result<()> {
    let Some(wrong) = first_wrong(picked) else { return Ok(()) };
    plane.metrics.verified(false);
    let CopiedPiece { bucket, key, version, .. } = wrong.clone();
    tracing::error!(bucket = bucket.0, key, %version, "parts are not the bytes of what they were copied from");
    let caller = caller.anew();
    plane.shutdown.spawn(async move {
        if let Err(failure) = caller.report_corruption(bucket, &key, version).await {
            tracing::warn!(?failure, key, "a bad copy could not be told of");
        }
    });
    Err(s3_error!(
        InvalidPart,
        "Parts that were copied are not the bytes of their source: a stored copy of it was damaged, which is being looked after. Copy the parts again."
    ))
}

/// A piece of an extent that is not as it was written.
fn first_wrong<'a>(picked: &[&'a StoredPart]) -> Option<&'a CopiedPiece> {
    let mut extents: BTreeMap<(VersionId, u64), Vec<&CopiedPiece>> = BTreeMap::new();
    for piece in picked.iter().flat_map(|part| &part.copied) {
        extents.entry((piece.version, piece.extent_offset)).or_default().push(piece);
    }
    extents.into_values().find(|pieces| is_wrong(pieces)).and_then(|pieces| pieces.first().copied())
}

/// Whether pieces of one extent are not what was written. Those that are not all of it say nothing.
fn is_wrong(pieces: &[&CopiedPiece]) -> bool {
    let Some(extent) = pieces.first() else { return false };
    let mut pieces = pieces.to_vec();
    pieces.sort_by_key(|piece| (piece.first, piece.size));
    // How far pieces reach that follow on each other from the extent's beginning, and the digest of all bytes until there.
    let mut reached: BTreeMap<u64, Option<String>> = BTreeMap::from([(extent.extent_offset, None)]);
    let mut before: Option<&CopiedPiece> = None;
    for piece in pieces {
        let is_same = |other: &&CopiedPiece| (other.first, other.size) == (piece.first, piece.size);
        if before.replace(piece).filter(is_same).is_some_and(|other| other.digest != piece.digest) {
            return true;
        }
        let Some(digest) = reached.get(&piece.first).filter(|_| piece.size > 0) else { continue };
        let so_far = digest.as_ref().map(|digest| (digest.as_str(), piece.first - extent.extent_offset));
        let chain: Vec<(&str, u64)> = so_far.into_iter().chain([(&*piece.digest, piece.size)]).collect();
        let digest = parts::checksum(Algorithm::Crc64nvme, ChecksumKind::FullObject, &chain);
        let end = piece.first.saturating_add(piece.size);
        // The same bytes by other cuts.
        if digest.is_none() || reached.get(&end).is_some_and(|other| *other != digest) {
            return true;
        }
        reached.insert(end, digest);
    }
    let end = extent.extent_offset.saturating_add(extent.extent_size);
    reached.get(&end).is_some_and(|digest| digest.as_ref() != Some(&extent.extent_digest))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use proptest::prelude::*;
    use s3o_blob::DigestHasher;
    use s3o_types::{BucketId, DigestKind};

    use super::*;

    fn crc(bytes: &[u8]) -> String {
        let mut hasher = DigestHasher::new(DigestKind::Crc64Nvme);
        hasher.update(bytes);
        BASE64.encode(hasher.finish().as_bytes())
    }

    /// The bytes from `first` to `until` of an extent that begins at 100, as they were read.
    fn piece(written: &[u8], read: &[u8], (first, until): (usize, usize)) -> CopiedPiece {
        CopiedPiece {
            version: VersionId::mint(1, 1),
            extent_offset: 100,
            extent_size: written.len() as u64,
            extent_digest: crc(written),
            first: 100 + first as u64,
            size: (until - first) as u64,
            digest: crc(&read[first..until]),
            bucket: BucketId(1),
            key: "k".to_owned(),
        }
    }

    fn wrong(pieces: &[CopiedPiece]) -> bool {
        is_wrong(&pieces.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_is_not_whole_says_nothing() {
        let (written, rotten) = (b"abcdefgh", b"abXdefgh");
        let some = [piece(written, rotten, (0, 4)), piece(written, rotten, (5, 8))];
        assert!(!wrong(&some), "a byte is missing");
        assert!(wrong(&[some.to_vec(), vec![piece(written, rotten, (4, 5))]].concat()));
        assert!(!wrong(&[piece(written, written, (0, 4)), piece(written, written, (4, 8))]));
    }

    #[test]
    fn what_was_read_twice_was_read_alike() {
        let (written, rotten) = (b"abcdefgh", b"abXdefgh");
        assert!(wrong(&[piece(written, rotten, (0, 4)), piece(written, written, (0, 4))]));
        assert!(!wrong(&[piece(written, written, (0, 4)), piece(written, written, (0, 4))]));
    }

    #[test]
    fn pieces_that_overlap_are_put_together_as_they_fit() {
        let (written, rotten) = (b"abcdefgh", b"abcdXfgh");
        let cut = |read, bounds: &[(usize, usize)]| {
            let pieces: Vec<CopiedPiece> = bounds.iter().map(|cut| piece(written, read, *cut)).collect();
            wrong(&pieces)
        };
        let twice = [(0, 6), (0, 4), (4, 8), (2, 5)];
        assert!(cut(rotten, &twice) && !cut(written, &twice));
        let other =
            [piece(written, written, (0, 6)), piece(written, rotten, (0, 4)), piece(written, rotten, (4, 6))];
        assert!(wrong(&other), "the same bytes were read twice, and not alike");
    }

    proptest! {
        #[test]
        fn all_of_an_extent_is_compared_however_it_was_cut(
            written in prop::collection::vec(any::<u8>(), 1..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            flipped in prop::option::of((any::<prop::sample::Index>(), 0..8_u8)),
            order in any::<prop::sample::Index>(),
        ) {
            let mut read = written.clone();
            if let Some((at, bit)) = flipped {
                read[at.index(written.len())] ^= 1 << bit;
            }
            let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut.index(written.len())).collect();
            bounds.extend([0, written.len()]);
            bounds.sort_unstable();
            bounds.dedup();
            let mut pieces: Vec<CopiedPiece> =
                bounds.windows(2).map(|cut| piece(&written, &read, (cut[0], cut[1]))).collect();
            let n = pieces.len();
            pieces.rotate_left(order.index(n));
            prop_assert_eq!(wrong(&pieces), flipped.is_some());
        }
    }
}
