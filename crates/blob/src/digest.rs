//! Digests of a body while it passes by: the MD5 (it is the ETag) unless somebody else computes it, others
//! on request.
//!
//! Invariant: each byte is looked at once and kept never.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use s3o_types::{Checksums, Digest, DigestKind, Etag};
use xxhash_rust::xxh3::Xxh3Default;
use xxhash_rust::xxh64::Xxh64;

/// S3's additional checksums (Amazon S3 User Guide, "Checking object integrity").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (iSCSI).
    Crc32c,
    /// CRC-64/NVME.
    Crc64nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// MD5 as a checksum, besides that of the ETag and of `Content-MD5`.
    Md5,
    /// XXH64 with seed 0, big-endian as all of its kind (xxHash specification, "Canonical representation").
    Xxhash64,
    /// XXH3 with 64 bits and seed 0.
    Xxhash3,
    /// XXH3 with 128 bits and seed 0.
    Xxhash128,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64nvme,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Md5,
        Self::Xxhash64,
        Self::Xxhash3,
        Self::Xxhash128,
    ];

    /// The name in [`Checksums`] and behind `x-amz-checksum-`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
            Self::Xxhash64 => "xxhash64",
            Self::Xxhash3 => "xxhash3",
            Self::Xxhash128 => "xxhash128",
        }
    }

    /// By name, in any case, as `x-amz-sdk-checksum-algorithm` says it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of a checksum.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64nvme | Self::Xxhash64 | Self::Xxhash3 => 8,
            Self::Md5 | Self::Xxhash128 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The CRC that it is, if it is one.
    pub(crate) const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1
            | Self::Sha256
            | Self::Sha512
            | Self::Md5
            | Self::Xxhash64
            | Self::Xxhash3
            | Self::Xxhash128 => None,
        }
    }

    /// The one that computes a digest.
    pub(crate) const fn of_kind(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Crc64Nvme => Self::Crc64nvme,
            DigestKind::Sha256 => Self::Sha256,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// Which checksums to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AlgorithmSet(u16);

impl AlgorithmSet {
    /// None but the MD5.
    pub const NONE: Self = Self(0);

    /// With one more.
    #[must_use]
    pub const fn with(self, algorithm: Algorithm) -> Self {
        Self(self.0 | algorithm.bit())
    }

    /// Whether it is in.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }
}

impl FromIterator<Algorithm> for AlgorithmSet {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        algorithms.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Boxed are those that are many times as large as the others.
enum Running {
    Crc(Box<crc_fast::Digest>),
    Sha(digest::Context),
    Md5(Md5),
    Xxh64(Xxh64),
    Xxh3(Box<Xxh3Default>),
}

impl Running {
    fn start(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            Algorithm::Sha256 => Self::Sha(digest::Context::new(&digest::SHA256)),
            Algorithm::Sha512 => Self::Sha(digest::Context::new(&digest::SHA512)),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Xxhash64 => Self::Xxh64(Xxh64::new(0)),
            Algorithm::Xxhash3 | Algorithm::Xxhash128 => Self::Xxh3(Box::default()),
            Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64nvme => {
                let crc = algorithm.crc().unwrap_or(CrcAlgorithm::Crc32IsoHdlc);
                Self::Crc(Box::new(crc_fast::Digest::new(crc)))
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(crc) => crc.update(bytes),
            Self::Sha(sha) => sha.update(bytes),
            Self::Md5(md5) => md5.update(bytes),
            Self::Xxh64(xxh) => xxh.update(bytes),
            Self::Xxh3(xxh) => xxh.update(bytes),
        }
    }

    fn finish(self, algorithm: Algorithm) -> Vec<u8> {
        match self {
            Self::Crc(crc) => {
                // A 32-bit CRC comes in the lower half.
                crc.finalize().to_be_bytes()[8 - algorithm.bytes()..].to_vec()
            }
            Self::Sha(sha) => sha.finish().as_ref().to_vec(),
            Self::Md5(md5) => md5.finalize().to_vec(),
            Self::Xxh64(xxh) => xxh.digest().to_be_bytes().to_vec(),
            Self::Xxh3(xxh) if algorithm == Algorithm::Xxhash128 => xxh.digest128().to_be_bytes().to_vec(),
            Self::Xxh3(xxh) => xxh.digest().to_be_bytes().to_vec(),
        }
    }
}

/// Computes the digests of a body incrementally.
pub struct BodyHasher {
    md5: Option<Md5>,
    running: Vec<(Algorithm, Running)>,
    size: u64,
}

impl BodyHasher {
    /// Of an empty body so far.
    pub fn new(algorithms: AlgorithmSet) -> Self {
        Self { md5: Some(Md5::new()), ..Self::without_md5(algorithms) }
    }

    /// The same without the MD5, which costs more than all others together: no processor helps with it.
    pub fn without_md5(algorithms: AlgorithmSet) -> Self {
        let wanted = Algorithm::ALL.into_iter().filter(|&algorithm| algorithms.contains(algorithm));
        Self { md5: None, running: wanted.map(|a| (a, Running::start(a))).collect(), size: 0 }
    }

    /// The digests of a body that is at hand whole.
    pub fn digest(bytes: &[u8], algorithms: AlgorithmSet) -> BodyDigests {
        let mut hasher = Self::new(algorithms);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        for (_, running) in &mut self.running {
            running.update(bytes);
        }
        self.size += bytes.len() as u64;
    }

    /// The digests of all bytes seen.
    pub fn finish(self) -> BodyDigests {
        let values = self
            .running
            .into_iter()
            .map(|(algorithm, running)| {
                (algorithm.name().to_owned(), BASE64.encode(running.finish(algorithm)))
            })
            .collect();
        let md5 = self.md5.map(|md5| md5.finalize().into());
        BodyDigests { size: self.size, md5, hop: None, digest: None, checksums: Checksums { values } }
    }
}

/// What a body turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDigests {
    /// Bytes.
    pub size: u64,
    /// MD5, raw. Absent where the backend's ETag is taken for it: then `hop` is there.
    pub md5: Option<[u8; 16]>,
    /// CRC-64/NVME, base64, which the backend compares in the MD5's place: see [`crate::Guard::skip_md5`].
    pub hop: Option<String>,
    /// What is kept with the copy, where it was asked for.
    pub digest: Option<Digest>,
    /// The additional checksums that were asked for, base64.
    pub checksums: Checksums,
}

/// Computes one digest of what is read.
pub struct DigestHasher(DigestKind, Running);

impl DigestHasher {
    /// Of nothing so far.
    pub fn new(kind: DigestKind) -> Self {
        Self(kind, Running::start(Algorithm::of_kind(kind)))
    }

    /// Takes bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.1.update(bytes);
    }

    /// The digest of all bytes seen.
    pub fn finish(self) -> Digest {
        let Self(kind, running) = self;
        let bytes = running.finish(Algorithm::of_kind(kind));
        // An algorithm of fixed length; were it another one, nothing would match.
        Digest::from_bytes(&bytes).ok().flatten().unwrap_or(Digest::Crc64Nvme([0; 8]))
    }
}

impl BodyDigests {
    /// The ETag S3 gives to such a body in a single PUT, where the MD5 is known.
    pub fn etag(&self) -> Option<Etag> {
        self.md5.map(|md5| Etag::new(&hex::encode(md5)))
    }

    /// The digest of a kind whose algorithm was computed.
    pub(crate) fn digest_of(&self, kind: DigestKind) -> Option<Digest> {
        let value = self.checksum(Algorithm::of_kind(kind))?;
        Digest::from_bytes(&BASE64.decode(value).ok()?).ok().flatten()
    }

    /// One of the checksums, base64, if it was asked for.
    pub fn checksum(&self, algorithm: Algorithm) -> Option<&str> {
        self.checksums.values.get(algorithm.name()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The check values of the CRC catalogue and of RFC 1321, RFC 3174 and FIPS 180 for `123456789` and the empty
    /// string; those of xxHash are `xxhsum`'s.
    #[test]
    fn known_values() {
        let digests = BodyHasher::digest(b"123456789", Algorithm::ALL.into_iter().collect());
        assert_eq!(digests.etag().expect("an MD5").as_str(), "25f9e794323b453885f5181f1b624d0b");
        let hex_of = |algorithm| {
            hex::encode(BASE64.decode(digests.checksum(algorithm).expect("asked for")).expect("base64"))
        };
        assert_eq!(hex_of(Algorithm::Crc32), "cbf43926");
        assert_eq!(hex_of(Algorithm::Crc32c), "e3069283");
        assert_eq!(hex_of(Algorithm::Crc64nvme), "ae8b14860a799888");
        assert_eq!(hex_of(Algorithm::Sha1), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(
            hex_of(Algorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
        assert_eq!(
            hex_of(Algorithm::Sha512),
            "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85"
        );
        assert_eq!(hex_of(Algorithm::Md5), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(hex_of(Algorithm::Xxhash64), "8cb841db40e6ae83");
        assert_eq!(hex_of(Algorithm::Xxhash3), "72dcb18b67a17dff");
        assert_eq!(hex_of(Algorithm::Xxhash128), "33119477ede5dcd5e9716427681d5860");
        let empty = BodyHasher::digest(b"", AlgorithmSet::NONE);
        assert_eq!(empty.etag(), Some(Etag::new("d41d8cd98f00b204e9800998ecf8427e")));
        assert_eq!(empty.size, 0);
        let mut hasher = DigestHasher::new(DigestKind::Crc64Nvme);
        hasher.update(b"123456789");
        assert_eq!(hex::encode(hasher.finish().as_bytes()), "ae8b14860a799888");
        for kind in [DigestKind::Crc64Nvme, DigestKind::Sha256] {
            let mut hasher = DigestHasher::new(kind);
            [&b"1234"[..], b"", b"56789"].iter().for_each(|bytes| hasher.update(bytes));
            assert_eq!(Some(hasher.finish()), digests.digest_of(kind));
        }
        assert!(empty.checksums.values.is_empty());
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let all: AlgorithmSet = Algorithm::ALL.into_iter().collect();
            let mut hasher = BodyHasher::new(all);
            for chunk in &chunks {
                hasher.update(chunk);
            }
            prop_assert_eq!(hasher.finish(), BodyHasher::digest(&chunks.concat(), all));
        }
    }

    #[test]
    fn names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(&algorithm.name().to_uppercase()), Some(algorithm));
            let value = BodyHasher::digest(b"a", AlgorithmSet::NONE.with(algorithm)).checksums.values;
            let raw = value.get(algorithm.name()).map(|value| BASE64.decode(value).expect("base64"));
            assert_eq!(raw.map(|raw| raw.len()), Some(algorithm.bytes()));
            assert!(AlgorithmSet::NONE.with(algorithm).contains(algorithm));
        }
        assert_eq!(Algorithm::from_name("md4"), None);
    }
}
