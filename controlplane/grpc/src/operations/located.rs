//! What Locate found, as it goes to the wire.

use s3o_core::call::Refusal;
use s3o_core::object::{CopyRow, CopyState, Located, LocatedExtent, Lookup, ObjectRow, known_digest};
use s3o_core::versions::{MarkerSeen, no_such_version};
use s3o_proto::v1;
use s3o_proto::v1::outcome::Result as Wire;
use s3o_types::{Checksums, ErrorCode};

use super::commit::attributes_to_wire;
use super::outcome::{refused, version_id};
use crate::field::encoding_to_wire;

/// `named`: whether a version was asked for.
pub(super) fn answer(found: Result<Lookup, Refusal>, named: bool) -> Wire {
    match found {
        Ok(Lookup::Found(found)) => Wire::Located(located(*found)),
        Ok(Lookup::Marker(MarkerSeen { version, modified })) => {
            let version_id = version_id(Some(version));
            Wire::MarkerFound(v1::MarkerFound { version_id, modified_us: modified.0 })
        }
        Ok(Lookup::Nothing) if named => refused(no_such_version()),
        Ok(Lookup::Nothing) => refused(Refusal::new(ErrorCode::NoSuchKey, "the key does not exist")),
        Err(refusal) => refused(refusal),
    }
}

fn located(found: Located) -> v1::Located {
    let Located { object, told, extents } = found;
    let ObjectRow {
        bucket: _,
        key: _,
        seq,
        version,
        size,
        etag,
        modified,
        attributes,
        checksums: Checksums { values },
        // Told where the client is to know.
        is_null: _,
        parts,
    } = object;
    v1::Located {
        version: version.to_uuid().as_bytes().to_vec().into(),
        seq: seq.0,
        size,
        etag: etag.as_str().to_owned(),
        modified_us: modified.0,
        attributes: Some(attributes_to_wire(attributes)),
        checksums: values.into_iter().collect(),
        extents: extents.into_iter().map(extent).collect(),
        parts: parts.map(u32::from),
        version_id: version_id(told),
    }
}

fn extent(found: LocatedExtent) -> v1::LocatedExtent {
    let LocatedExtent { extent, offset, size, checksums: Checksums { values }, copies } = found;
    let digest = known_digest(copies.iter().map(|(copy, _)| copy));
    v1::LocatedExtent {
        digest: digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default().into(),
        checksums: values.into_iter().collect(),
        extent: u32::from(extent.get()),
        offset,
        size,
        copies: copies.into_iter().filter_map(copy).collect(),
    }
}

/// `None` for a copy that no reader may try.
fn copy((row, storage_key): (CopyRow, String)) -> Option<v1::LocatedCopy> {
    let CopyRow {
        backend,
        blob: _,
        bucket: _,
        key: _,
        state,
        stored_size,
        backend_etag,
        backend_version: _,
        encoding,
        foreign_key,
        // Stands in the extent.
        piece: _,
        md5: _,
        digest: _,
        checksums: _,
    } = row;
    let state = match state {
        CopyState::Verified => v1::CopyState::Verified,
        CopyState::Uncertain => v1::CopyState::Uncertain,
        CopyState::Quarantined | CopyState::Missing => return None,
    };
    Some(v1::LocatedCopy {
        backend: backend.0,
        storage_key,
        stored_size,
        backend_etag: backend_etag.map(|etag| etag.as_str().to_owned()).unwrap_or_default(),
        encoding: Some(encoding_to_wire(encoding)),
        state: state.into(),
        foreign_key: foreign_key.is_some(),
    })
}
