//! The client's list against what is stored: which parts the object is made of.

use std::collections::HashMap;

use s3o_blob::{Algorithm, ChecksumKind};
use s3s::{S3Error, S3Result, s3_error};

use super::ListedPart;
use crate::control::{StoredPart, Upload};

/// Where the object's checksum is made of those of its parts, each of them is named.
pub(super) fn check_named(listed: &[ListedPart], upload: &Upload) -> S3Result<()> {
    let Some(algorithm) = Algorithm::from_name(&upload.checksum_algorithm) else { return Ok(()) };
    if ChecksumKind::from_word(&upload.checksum_type) != Some(ChecksumKind::Composite) {
        return Ok(());
    }
    let lacks = |part: &&ListedPart| !part.checksums.iter().any(|(named, _)| *named == algorithm);
    let Some(ListedPart { number, .. }) = listed.iter().find(lacks) else { return Ok(()) };
    let name = algorithm.name();
    Err(s3_error!(
        InvalidRequest,
        "The upload was created using a {name} checksum. The complete request must include the checksum for each part. It was missing for part {number} in the request."
    ))
}

/// The stored parts that the client lists, each the very one that it was told of. A checksum that a part does not have
/// was not told.
pub(super) fn pick<'a>(listed: &[ListedPart], stored: &'a [StoredPart]) -> S3Result<Vec<&'a StoredPart>> {
    let stored: HashMap<u32, &StoredPart> = stored.iter().map(|part| (part.number, part)).collect();
    let find = |part: &ListedPart| {
        let found = stored.get(&u32::from(part.number)).copied().filter(|found| found.etag == part.etag);
        let found = found.ok_or_else(invalid_part)?;
        let same = |(algorithm, value): &(Algorithm, String)| {
            found.checksums.values.get(algorithm.name()) == Some(value)
        };
        if part.checksums.iter().all(same) { Ok(found) } else { Err(invalid_part()) }
    };
    listed.iter().map(find).collect()
}

pub(super) fn invalid_part() -> S3Error {
    s3_error!(
        InvalidPart,
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
    )
}

/// S3's rule: all parts but the last have a least size.
pub(super) fn check_sizes(picked: &[&StoredPart], least: u64) -> S3Result<()> {
    let but_last = picked.split_last().map(|(_, others)| others).unwrap_or_default();
    // Where no size is asked for, an empty part would still be none that a range could be in.
    match but_last.iter().find(|part| part.size < least.max(1)) {
        None => Ok(()),
        Some(_) => {
            Err(s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"))
        }
    }
}

#[cfg(test)]
mod tests {
    use s3o_types::{Checksums, Etag, Timestamp};

    use super::super::tests::{code, named, upload};
    use super::*;

    fn stored(number: u32, size: u64, etag: &str) -> StoredPart {
        StoredPart {
            number,
            attempt: 0,
            size,
            etag: Etag::new(etag),
            modified: Timestamp(0),
            checksums: Checksums { values: [("crc32".to_owned(), "AAAAAA==".to_owned())].into() },
            copied: Vec::new(),
        }
    }

    #[test]
    fn parts_are_those_that_the_client_was_told_of() {
        let all = [stored(1, 5, "a"), stored(2, 5, "b")];
        assert_eq!(pick(&[named(2, "b")], &all).expect("it is there").len(), 1);
        assert_eq!(code(pick(&[named(2, "a")], &all)), "InvalidPart");
        assert_eq!(code(pick(&[named(3, "a")], &all)), "InvalidPart");
        let mut with_checksum = named(1, "a");
        with_checksum.checksums = vec![(Algorithm::Crc32, "AAAAAA==".to_owned())];
        assert!(pick(std::slice::from_ref(&with_checksum), &all).is_ok());
        with_checksum.checksums.push((Algorithm::Sha1, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()));
        assert_eq!(code(pick(std::slice::from_ref(&with_checksum), &all)), "InvalidPart", "it has no such");
        with_checksum.checksums = vec![(Algorithm::Crc32, "AAAAAQ==".to_owned())];
        assert_eq!(code(pick(&[with_checksum], &all)), "InvalidPart");
    }

    #[test]
    fn parts_of_a_composite_checksum_are_named_with_theirs() {
        let with = |algorithm| ListedPart { checksums: vec![(algorithm, String::new())], ..named(2, "a") };
        let composite = upload("CRC32", "COMPOSITE");
        let (good, other) = (with(Algorithm::Crc32), with(Algorithm::Sha1));
        assert!(check_named(std::slice::from_ref(&good), &composite).is_ok());
        assert_eq!(code(check_named(&[named(1, "a"), good], &composite)), "InvalidRequest");
        let error = check_named(&[other], &composite).expect_err("another one");
        assert!(
            error.message().is_some_and(|text| text.contains("a crc32 checksum") && text.contains("part 2"))
        );
        assert!(check_named(&[named(1, "a")], &upload("CRC32", "FULL_OBJECT")).is_ok());
        assert!(check_named(&[named(1, "a")], &upload("", "")).is_ok());
    }

    #[test]
    fn all_but_the_last_have_a_least_size() {
        let (small, large) = (stored(1, 4, "a"), stored(2, 5, "b"));
        assert!(check_sizes(&[&large, &small], 5).is_ok());
        assert_eq!(code(check_sizes(&[&small, &large], 5)), "EntityTooSmall");
        assert!(check_sizes(&[&small], 5).is_ok());
        let empty = stored(1, 0, "a");
        assert_eq!(code(check_sizes(&[&empty, &large], 0)), "EntityTooSmall");
    }
}
