//! The checksum fields that many of `s3s`'s types have: one for each algorithm, spelled out here and nowhere else.

/// Fills the fields of an answer from [`s3o_types::Checksums`].
macro_rules! set_checksums {
    ($answer:expr, $checksums:expr) => {{
        let of = |algorithm: s3o_blob::Algorithm| $checksums.values.get(algorithm.name()).cloned();
        $answer.checksum_crc32 = of(s3o_blob::Algorithm::Crc32);
        $answer.checksum_crc32c = of(s3o_blob::Algorithm::Crc32c);
        $answer.checksum_crc64nvme = of(s3o_blob::Algorithm::Crc64nvme);
        $answer.checksum_sha1 = of(s3o_blob::Algorithm::Sha1);
        $answer.checksum_sha256 = of(s3o_blob::Algorithm::Sha256);
    }};
}
pub(super) use set_checksums;

/// The fields of a request, each with its algorithm.
macro_rules! take_checksums {
    ($request:expr) => {
        [
            (s3o_blob::Algorithm::Crc32, $request.checksum_crc32),
            (s3o_blob::Algorithm::Crc32c, $request.checksum_crc32c),
            (s3o_blob::Algorithm::Crc64nvme, $request.checksum_crc64nvme),
            (s3o_blob::Algorithm::Sha1, $request.checksum_sha1),
            (s3o_blob::Algorithm::Sha256, $request.checksum_sha256),
        ]
    };
}
pub(super) use take_checksums;

#[cfg(test)]
mod tests {
    use s3o_blob::Algorithm;
    use s3o_types::Checksums;
    use s3s::dto::{Checksum, CompletedPart};

    #[test]
    fn each_algorithm_has_its_field() {
        let values =
            Algorithm::ALL.map(|algorithm| (algorithm.name().to_owned(), algorithm.name().to_owned()));
        let all = Checksums { values: values.into() };
        let (mut checksum, mut part) = (Checksum::default(), CompletedPart::default());
        set_checksums!(checksum, all);
        assert_eq!(checksum.checksum_crc64nvme.as_deref(), Some("crc64nvme"));
        set_checksums!(part, all);
        for (algorithm, value) in take_checksums!(part) {
            assert_eq!(value.as_deref(), Some(algorithm.name()));
        }
        set_checksums!(checksum, Checksums::default());
        assert_eq!(checksum.checksum_crc32, None);
    }
}
