//! ETag and checksums of an object that came in parts, from those of the parts: no byte is read for them.
//!
//! Rules: Amazon S3 User Guide, "Checking object integrity" (composite and full-object checksums); the ETag is
//! the MD5 of the parts' MD5s, with their number behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};
use s3o_types::Etag;

use crate::digest::{Algorithm, BodyHasher};

/// How the checksum of an object in parts is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumKind {
    /// The checksum of the parts' checksums, with their number behind it.
    Composite,
    /// That of the bytes, as if they had come whole.
    FullObject,
}

impl ChecksumKind {
    /// S3's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    /// By S3's word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Composite, Self::FullObject].into_iter().find(|kind| kind.as_str() == word)
    }

    /// What S3 makes where nothing else is asked for.
    pub const fn default_of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc64nvme => Self::FullObject,
            _ => Self::Composite,
        }
    }

    /// Whether S3 knows it for the algorithm: only CRCs can be put together, and a CRC-64/NVME always is.
    pub const fn fits(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Composite => !matches!(algorithm, Algorithm::Crc64nvme),
            Self::FullObject => algorithm.crc().is_some(),
        }
    }

    /// Of a checksum as it is stored: a composite one ends in the number of parts.
    pub fn of_value(value: &str) -> Self {
        if value.contains('-') { Self::Composite } else { Self::FullObject }
    }
}

/// The object's ETag. `None`: one of the parts' is no MD5.
pub fn etag<'a>(parts: impl ExactSizeIterator<Item = &'a Etag>) -> Option<Etag> {
    let count = parts.len();
    let mut md5 = Md5::new();
    for part in parts {
        let bytes: [u8; 16] = hex::decode(part.as_str()).ok()?.try_into().ok()?;
        md5.update(bytes);
    }
    Some(Etag::new(&format!("{}-{count}", hex::encode(md5.finalize()))))
}

/// The object's checksum, from those of the parts, base64, and their sizes. `None`: one of them is no checksum of
/// the algorithm, or the kind does not fit it.
pub fn checksum(algorithm: Algorithm, kind: ChecksumKind, parts: &[(&str, u64)]) -> Option<String> {
    if !kind.fits(algorithm) {
        return None;
    }
    let raw: Vec<Vec<u8>> =
        parts.iter().map(|(value, _)| BASE64.decode(value).ok()).collect::<Option<Vec<_>>>()?;
    if raw.iter().any(|bytes| bytes.len() != algorithm.bytes()) {
        return None;
    }
    match kind {
        ChecksumKind::Composite => {
            let digests = BodyHasher::digest(&raw.concat(), crate::AlgorithmSet::NONE.with(algorithm));
            Some(format!("{}-{}", digests.checksum(algorithm)?, parts.len()))
        }
        ChecksumKind::FullObject => {
            let crc = algorithm.crc()?;
            let wide = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
            let sizes = parts.iter().map(|(_, size)| *size);
            let mut pieces = raw.iter().map(|bytes| wide(bytes)).zip(sizes);
            let (first, _) = pieces.next()?;
            let all =
                pieces.fold(first, |sum, (next, size)| crc_fast::checksum_combine(crc, sum, next, size));
            Some(BASE64.encode(&all.to_be_bytes()[8 - algorithm.bytes()..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::AlgorithmSet;

    /// Made by Amazon S3's rule with `md5sum`: two parts `hello ` and `world`.
    #[test]
    fn etags() {
        let md5 =
            |text: &str| BodyHasher::digest(text.as_bytes(), AlgorithmSet::NONE).etag().expect("an MD5");
        let parts = [md5("hello "), md5("world")];
        let joined = [hex::decode(parts[0].as_str()), hex::decode(parts[1].as_str())]
            .map(|b| b.expect("hex"))
            .concat();
        let expected = format!("{}-2", hex::encode(Md5::digest(&joined)));
        assert_eq!(etag(parts.iter()).expect("both are").as_str(), expected);
        assert_eq!(etag([Etag::new("abc-2")].iter()), None);
    }

    #[test]
    fn kinds() {
        assert_eq!(ChecksumKind::default_of(Algorithm::Crc64nvme), ChecksumKind::FullObject);
        assert!(!ChecksumKind::FullObject.fits(Algorithm::Sha256));
        assert_eq!(ChecksumKind::of_value("AAAAAA==-3"), ChecksumKind::Composite);
        assert_eq!(ChecksumKind::of_value("AAAAAA=="), ChecksumKind::FullObject);
        assert_eq!(checksum(Algorithm::Sha1, ChecksumKind::FullObject, &[("AA==", 1)]), None);
        assert_eq!(checksum(Algorithm::Crc32, ChecksumKind::Composite, &[("AA==", 1)]), None, "too short");
    }

    proptest! {
        #[test]
        fn a_full_object_checksum_is_that_of_the_bytes(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..8)
        ) {
            let all: AlgorithmSet = Algorithm::ALL.into_iter().collect();
            let digests: Vec<_> = parts.iter().map(|part| BodyHasher::digest(part, all)).collect();
            let whole = BodyHasher::digest(&parts.concat(), all);
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64nvme] {
                let pieces: Vec<(&str, u64)> =
                    digests.iter().map(|d| (d.checksum(algorithm).expect("asked for"), d.size)).collect();
                let combined = checksum(algorithm, ChecksumKind::FullObject, &pieces);
                prop_assert_eq!(combined.as_deref(), whole.checksum(algorithm));
            }
        }

        #[test]
        fn a_composite_is_made_of_the_parts_checksums(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..8)
        ) {
            let composed = |algorithm: &Algorithm| ChecksumKind::Composite.fits(*algorithm);
            for algorithm in Algorithm::ALL.into_iter().filter(composed) {
                let set = AlgorithmSet::NONE.with(algorithm);
                let digests: Vec<_> = parts.iter().map(|part| BodyHasher::digest(part, set)).collect();
                let pieces: Vec<(&str, u64)> =
                    digests.iter().map(|d| (d.checksum(algorithm).expect("asked for"), d.size)).collect();
                let composite = checksum(algorithm, ChecksumKind::Composite, &pieces).expect("fits");
                let ending = format!("-{}", parts.len());
                prop_assert!(composite.ends_with(&ending));
                prop_assert_eq!(ChecksumKind::of_value(&composite), ChecksumKind::Composite);
            }
        }
    }
}
