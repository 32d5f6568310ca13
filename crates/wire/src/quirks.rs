//! In what a backend differs from S3.

use s3o_proto::v1;
use s3o_types::{ChecksumMode, EtagProof, Quirks};

/// As the configuration has them.
pub fn to_wire(quirks: &Quirks) -> v1::Quirks {
    let Quirks { path_style, unsigned_payload, checksum, strip_headers, etag } = quirks;
    v1::Quirks {
        path_style: *path_style,
        unsigned_payload: *unsigned_payload,
        checksum: match checksum {
            ChecksumMode::None => v1::ChecksumMode::None,
            ChecksumMode::ContentMd5 => v1::ChecksumMode::ContentMd5,
        }
        .into(),
        strip_headers: strip_headers.clone(),
        etag: match etag {
            EtagProof::Unknown => v1::EtagProof::Unspecified,
            EtagProof::Md5 => v1::EtagProof::Md5,
            EtagProof::Md5Trailer => v1::EtagProof::Md5Trailer,
            EtagProof::Opaque => v1::EtagProof::Opaque,
        }
        .into(),
    }
}

/// A checksum of a later release is not sent, and a proof of one is looked for again.
pub fn from_wire(wire: v1::Quirks) -> Quirks {
    let (checksum, etag) = (wire.checksum(), wire.etag());
    let v1::Quirks { path_style, unsigned_payload, checksum: _, strip_headers, etag: _ } = wire;
    Quirks {
        path_style,
        unsigned_payload,
        checksum: match checksum {
            v1::ChecksumMode::ContentMd5 => ChecksumMode::ContentMd5,
            v1::ChecksumMode::Unspecified | v1::ChecksumMode::None => ChecksumMode::None,
        },
        strip_headers,
        etag: match etag {
            v1::EtagProof::Unspecified => EtagProof::Unknown,
            v1::EtagProof::Md5 => EtagProof::Md5,
            v1::EtagProof::Md5Trailer => EtagProof::Md5Trailer,
            v1::EtagProof::Opaque => EtagProof::Opaque,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        use EtagProof::{Md5, Md5Trailer, Opaque, Unknown};
        for etag in [Unknown, Md5, Md5Trailer, Opaque] {
            for checksum in [ChecksumMode::None, ChecksumMode::ContentMd5] {
                let strip_headers = vec!["x-amz-tagging".to_owned()];
                let quirks =
                    Quirks { path_style: false, unsigned_payload: true, checksum, strip_headers, etag };
                assert_eq!(from_wire(to_wire(&quirks)), quirks);
            }
        }
        assert_eq!(from_wire(to_wire(&Quirks::default())), Quirks::default());
        let of_later = v1::Quirks { checksum: 99, etag: 99, ..to_wire(&Quirks::default()) };
        assert_eq!(from_wire(of_later), Quirks::default());
    }
}
