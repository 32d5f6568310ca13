//! What a part was copied from.

use s3o_proto::v1;
use s3o_types::{BucketId, CopiedPiece, VersionId};
use uuid::Uuid;

/// As a part's Commit brings it.
pub fn to_wire(piece: CopiedPiece) -> v1::CopiedPiece {
    let CopiedPiece { version, extent_offset, extent_size, extent_digest, first, size, digest, bucket, key } =
        piece;
    v1::CopiedPiece {
        version: version.to_uuid().as_bytes().to_vec().into(),
        extent_offset,
        extent_size,
        extent_digest,
        first,
        size,
        digest,
        bucket: bucket.0,
        key,
    }
}

/// `None`: the version is none.
pub fn from_wire(wire: v1::CopiedPiece) -> Option<CopiedPiece> {
    let v1::CopiedPiece {
        version,
        extent_offset,
        extent_size,
        extent_digest,
        first,
        size,
        digest,
        bucket,
        key,
    } = wire;
    let version = VersionId::from_uuid(Uuid::from_slice(&version).ok()?);
    let bucket = BucketId(bucket);
    Some(CopiedPiece { version, extent_offset, extent_size, extent_digest, first, size, digest, bucket, key })
}

/// Pieces of one part after another: a key is said once for all that follow with the same.
pub fn list_to_wire(pieces: Vec<CopiedPiece>, said: &mut String) -> Vec<v1::CopiedPiece> {
    let each = pieces.into_iter().map(|piece| {
        let mut wire = to_wire(piece);
        if wire.key == *said {
            wire.key.clear();
        } else {
            said.clone_from(&wire.key);
        }
        wire
    });
    each.collect()
}

/// The other way. `None`: one of them makes no sense.
pub fn list_from_wire(pieces: Vec<v1::CopiedPiece>, said: &mut String) -> Option<Vec<CopiedPiece>> {
    let each = pieces.into_iter().map(|mut wire| {
        if wire.key.is_empty() {
            wire.key.clone_from(said);
        } else {
            said.clone_from(&wire.key);
        }
        from_wire(wire)
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(key: &str, first: u64) -> CopiedPiece {
        CopiedPiece {
            version: VersionId::mint(1, 2),
            extent_offset: 3,
            extent_size: 4,
            extent_digest: "AAAAAAAAAAA=".to_owned(),
            first,
            size: 6,
            digest: "AAAAAAAAAAE=".to_owned(),
            bucket: BucketId(7),
            key: key.to_owned(),
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(from_wire(to_wire(piece("k", 5))), Some(piece("k", 5)));
        assert_eq!(from_wire(v1::CopiedPiece { version: vec![1].into(), ..to_wire(piece("k", 5)) }), None);
    }

    #[test]
    fn a_list_says_a_key_once() {
        let parts = [vec![piece("a", 0), piece("a", 1)], vec![], vec![piece("a", 2)], vec![piece("b", 0)]];
        let mut said = String::new();
        let wire = parts.clone().map(|part| list_to_wire(part, &mut said));
        assert_eq!(wire.iter().flatten().filter(|piece| !piece.key.is_empty()).count(), 2);
        let mut said = String::new();
        assert_eq!(wire.map(|part| list_from_wire(part, &mut said).expect("good")), parts);
    }
}
