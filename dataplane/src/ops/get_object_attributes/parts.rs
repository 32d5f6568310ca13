//! ObjectParts: the parts of an object whose checksum is one of its parts', each with its own. Of any other, and of
//! one whose parts' checksums are not known any more, only the number of parts is told, as S3 does (API reference,
//! GetObjectAttributesParts).
//!
//! Invariants: a part's number is its place in their order, as in a GET of a part; all parts of an answer are of one version;
//! they come from the control plane in as many pieces as those of a reader.

use s3o_types::{BucketId, ErrorCode};
use s3s::S3Result;
use s3s::dto::{GetObjectAttributesInput, GetObjectAttributesParts, ObjectPart};

use crate::control::{Caller, Failure, Located, LocatedExtent, Want};
use crate::ops::checksums::set_checksums;
use crate::ops::headers::is_composite;
use crate::ops::multipart::{list_parts, part_number};
use crate::pipeline::faults;

/// Which parts are asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// Those with greater numbers.
    marker: u16,
    /// At most.
    max: i32,
}

impl Page {
    pub(super) fn of(input: &GetObjectAttributesInput) -> S3Result<Self> {
        let marker = list_parts::marker(input.part_number_marker.as_ref())?;
        Ok(Self { marker, max: list_parts::limit(input.max_parts)? })
    }

    /// What is to be located with the object: its first part. Behind the greatest number there is none.
    pub(super) fn want(&self) -> Want {
        part_number(i32::from(self.marker) + 1).map_or(Want::Range(0, 0), Want::Part)
    }

    /// How many parts it has, of so many.
    fn len(&self, total: u32) -> usize {
        let behind = total.saturating_sub(u32::from(self.marker));
        usize::try_from(behind).unwrap_or(usize::MAX).min(usize::try_from(self.max).unwrap_or_default())
    }

    fn answer(&self, extents: &[LocatedExtent], total: u32) -> GetObjectAttributesParts {
        let numbers = i32::from(self.marker) + 1..;
        let parts: Vec<ObjectPart> = numbers.zip(extents).map(part).collect();
        let marker = i32::from(self.marker);
        let next = parts.last().and_then(|part| part.part_number).unwrap_or(marker);
        let counted = count(total);
        GetObjectAttributesParts {
            part_number_marker: Some(marker),
            next_part_number_marker: Some(next),
            max_parts: Some(self.max),
            is_truncated: Some(self.max > 0 && counted.total_parts_count.is_some_and(|total| next < total)),
            parts: Some(parts),
            ..counted
        }
    }
}

/// Their number alone.
fn count(total: u32) -> GetObjectAttributesParts {
    GetObjectAttributesParts { total_parts_count: i32::try_from(total).ok(), ..Default::default() }
}

fn part((number, extent): (i32, &LocatedExtent)) -> ObjectPart {
    let mut part =
        ObjectPart { part_number: Some(number), size: i64::try_from(extent.size).ok(), ..Default::default() };
    set_checksums!(part, extent.checksums);
    part
}

/// The page of a version that was located with the first part of it. `None`: the version is gone, and another one may be in its
/// place.
pub(super) async fn list(
    caller: &Caller,
    named: (BucketId, &str),
    (located, total): (&Located, u32),
    page: &Page,
) -> S3Result<Option<GetObjectAttributesParts>> {
    if !is_composite(&located.checksums) {
        return Ok(Some(count(total)));
    }
    let len = page.len(total);
    let mut extents: Vec<LocatedExtent> = located.extents.iter().take(len).cloned().collect();
    while extents.len() < len && extents.iter().all(is_known) {
        let Some(end) = extents.last().map(|last| last.offset + last.size) else { return Ok(None) };
        let Some(more) = locate_from(caller, named, located, end).await? else { return Ok(None) };
        let mut more =
            more.into_iter().filter(|extent| extent.offset >= end).take(len - extents.len()).peekable();
        // A version that is taken apart loses its first parts first, and those behind them have no other numbers.
        if more.peek().is_none_or(|first| first.offset != end) {
            return Ok(None);
        }
        extents.extend(more);
    }
    let known = extents.iter().all(is_known);
    Ok(Some(if known { page.answer(&extents, total) } else { count(total) }))
}

fn is_known(extent: &LocatedExtent) -> bool {
    !extent.checksums.values.is_empty()
}

/// The extents from the one on that ends at `end`: by its last byte, so that a last part without any is among them. `None`: the
/// version is gone.
async fn locate_from(
    caller: &Caller,
    (bucket, key): (BucketId, &str),
    located: &Located,
    end: u64,
) -> S3Result<Option<Vec<LocatedExtent>>> {
    let want = Want::Of(located.version, end.saturating_sub(1), located.size.saturating_add(1));
    match caller.anew().locate(bucket, (key, None), want).await {
        Ok(found) if found.version == located.version => Ok(Some(found.extents)),
        Ok(_) | Err(Failure::Refused { code: ErrorCode::NoSuchKey, .. } | Failure::Marker { .. }) => Ok(None),
        Err(failure) => Err(faults::of_failure(failure)),
    }
}

#[cfg(test)]
mod tests {
    use s3o_types::Checksums;

    use super::*;

    fn extent(offset: u64, size: u64) -> LocatedExtent {
        let checksums = Checksums { values: [("crc32c".to_owned(), format!("{offset}+{size}"))].into() };
        LocatedExtent { offset, size, copies: Vec::new(), digest: None, md5: None, checksums }
    }

    #[test]
    fn a_page_begins_behind_its_marker() {
        let page = |marker, max| Page { marker, max };
        assert_eq!(page(0, 1000).want(), Want::Part(1));
        assert_eq!(page(9_999, 1000).want(), Want::Part(10_000));
        assert_eq!(page(10_000, 1000).want(), Want::Range(0, 0), "there is no such part");
        for (marker, max, total, len) in
            [(0, 1000, 3, 3), (1, 1, 3, 1), (3, 9, 3, 0), (7, 9, 3, 0), (0, 0, 3, 0)]
        {
            assert_eq!(page(marker, max).len(total), len, "{max} behind {marker} of {total}");
        }
    }

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let page = Page { marker: 1, max: 2 };
        let answer = page.answer(&[extent(5, 6), extent(11, 0)], 4);
        let parts = answer.parts.expect("listed");
        let seen: Vec<_> =
            parts.iter().map(|part| (part.part_number, part.size, part.checksum_crc32c.as_deref())).collect();
        assert_eq!(seen, [(Some(2), Some(6), Some("5+6")), (Some(3), Some(0), Some("11+0"))]);
        assert_eq!((answer.part_number_marker, answer.next_part_number_marker), (Some(1), Some(3)));
        assert_eq!(
            (answer.max_parts, answer.is_truncated, answer.total_parts_count),
            (Some(2), Some(true), Some(4))
        );
        assert_eq!(page.answer(&[extent(5, 6)], 2).is_truncated, Some(false), "it was the last one");
        let none = Page { marker: 7, max: 2 }.answer(&[], 4);
        assert_eq!((none.next_part_number_marker, none.is_truncated), (Some(7), Some(false)));
        let asked_for_none = Page { marker: 0, max: 0 }.answer(&[], 4);
        assert_eq!(asked_for_none.is_truncated, Some(false), "as ListParts says it");
    }
}
