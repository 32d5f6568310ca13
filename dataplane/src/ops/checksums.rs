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
        $answer.checksum_sha512 = of(s3o_blob::Algorithm::Sha512);
        $answer.checksum_md5 = of(s3o_blob::Algorithm::Md5);
        $answer.checksum_xxhash64 = of(s3o_blob::Algorithm::Xxhash64);
        $answer.checksum_xxhash3 = of(s3o_blob::Algorithm::Xxhash3);
        $answer.checksum_xxhash128 = of(s3o_blob::Algorithm::Xxhash128);
    }};
}
pub(super) use set_checksums;

/// What the fields of a request say, each with its algorithm.
macro_rules! said_checksums {
    ($request:expr) => {
        [
            (s3o_blob::Algorithm::Crc32, &$request.checksum_crc32),
            (s3o_blob::Algorithm::Crc32c, &$request.checksum_crc32c),
            (s3o_blob::Algorithm::Crc64nvme, &$request.checksum_crc64nvme),
            (s3o_blob::Algorithm::Sha1, &$request.checksum_sha1),
            (s3o_blob::Algorithm::Sha256, &$request.checksum_sha256),
            (s3o_blob::Algorithm::Sha512, &$request.checksum_sha512),
            (s3o_blob::Algorithm::Md5, &$request.checksum_md5),
            (s3o_blob::Algorithm::Xxhash64, &$request.checksum_xxhash64),
            (s3o_blob::Algorithm::Xxhash3, &$request.checksum_xxhash3),
            (s3o_blob::Algorithm::Xxhash128, &$request.checksum_xxhash128),
        ]
        .into_iter()
        .filter_map(|(algorithm, said)| Some((algorithm, said.as_ref()?)))
    };
}
pub(super) use said_checksums;

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
        let said: Vec<_> = said_checksums!(part).collect();
        let each = |(algorithm, value): &(Algorithm, &String)| value.as_str() == algorithm.name();
        assert!(said.iter().all(each), "{said:?}");
        assert_eq!(said.len(), Algorithm::ALL.len());
        set_checksums!(checksum, Checksums::default());
        assert_eq!(checksum.checksum_crc32, None);
    }
}
