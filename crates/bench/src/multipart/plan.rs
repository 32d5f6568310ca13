//! What an upload is made of: its parts' lengths and bodies, and the document that ends it.
//!
//! Invariant: a part is named by the MD5 of its bytes, which every target measured here answers as its
//! `ETag`; one that answers another refuses the Complete, and that is counted as a failure.

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use md5::{Digest as _, Md5};

use crate::load::{Payload, Payloads, Upload};

/// Parts of an upload, at most: S3's limit.
const MOST_PARTS: usize = 10_000;

/// See the module.
pub(super) struct Plan {
    /// Of each part, in order.
    lengths: Vec<usize>,
    usual: Bodies,
    /// Of the last part, where it is shorter.
    last: Option<Bodies>,
}

/// The distinct bodies of one length, taken in turn.
struct Bodies {
    payloads: Payloads,
    etags: Vec<String>,
}

impl Bodies {
    fn new(payload: Payload, length: usize, seed: u64) -> Self {
        let payloads = Payloads::new(payload, length, seed);
        let etags = payloads.plain.iter().map(|body| hex::encode(Md5::digest(body))).collect();
        Self { payloads, etags }
    }
}

impl Plan {
    /// An object of `size` bytes in parts of `part` bytes.
    pub(super) fn new(size: usize, part: usize, payload: Payload, seed: u64) -> Result<Self> {
        ensure!(size > 0 && part > 0, "an upload and its parts have a byte at least");
        let lengths = lengths(size, part);
        ensure!(lengths.len() <= MOST_PARTS, "{size} bytes are more than {MOST_PARTS} parts of {part}");
        let rest = lengths.last().copied().filter(|length| *length != part);
        let usual = Bodies::new(payload, if lengths.len() == 1 { size } else { part }, seed);
        let last = rest.filter(|_| lengths.len() > 1).map(|length| Bodies::new(payload, length, seed));
        Ok(Self { lengths, usual, last })
    }

    /// Bytes of the object.
    pub(super) fn size(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(super) fn parts(&self) -> usize {
        self.lengths.len()
    }

    /// Every distinct body once.
    pub(super) fn distinct(&self) -> impl Iterator<Item = &Upload> {
        let last = self.last.iter().flat_map(|bodies| &bodies.payloads.uploads);
        self.usual.payloads.uploads.iter().chain(last)
    }

    fn bodies(&self, index: usize) -> &Bodies {
        self.last.as_ref().filter(|_| index + 1 == self.lengths.len()).unwrap_or(&self.usual)
    }

    /// The part at `index`, which counts from 0, as it is sent.
    pub(super) fn upload(&self, index: usize) -> &Upload {
        self.bodies(index).payloads.upload(index as u64)
    }

    /// The whole object.
    pub(super) fn content(&self) -> Bytes {
        let mut content = BytesMut::with_capacity(self.size());
        for index in 0..self.parts() {
            content.extend_from_slice(&self.bodies(index).payloads.plain(index as u64));
        }
        content.freeze()
    }

    /// The body of Complete.
    pub(super) fn completion(&self) -> Bytes {
        let etag = |index: usize| {
            let etags = &self.bodies(index).etags;
            etags[index % etags.len()].as_str()
        };
        Bytes::from(completion((0..self.parts()).map(etag)))
    }
}

/// All parts but the last are of `part` bytes.
fn lengths(size: usize, part: usize) -> Vec<usize> {
    (0..size).step_by(part).map(|at| part.min(size - at)).collect()
}

/// Parts 1, 2, 3, … by their `ETag`s, which are given without quotation marks.
fn completion<'a>(etags: impl Iterator<Item = &'a str>) -> String {
    let mut parts = String::new();
    for (number, etag) in (1_u32..).zip(etags) {
        let number = number.to_string();
        parts.extend([
            "<Part><PartNumber>",
            number.as_str(),
            "</PartNumber><ETag>&quot;",
            etag,
            "&quot;</ETag></Part>",
        ]);
    }
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_object() {
        assert_eq!(lengths(10, 4), [4, 4, 2]);
        assert_eq!(lengths(8, 4), [4, 4]);
        assert_eq!(lengths(3, 4), [3]);
        assert_eq!(lengths(1 << 30, 16 << 20), [16 << 20; 64]);
    }

    #[test]
    fn a_plan_is_the_sum_of_its_parts() {
        for (size, part, parts) in [(10_000, 3_000, 4), (9_000, 3_000, 3), (100, 3_000, 1)] {
            let plan = Plan::new(size, part, Payload::Unsigned, 1).expect("a plan");
            assert_eq!((plan.size(), plan.parts(), plan.content().len()), (size, parts, size));
            let sent: Vec<u8> = (0..parts).flat_map(|index| plan.upload(index).wire.to_vec()).collect();
            assert_eq!(sent, plan.content());
            let document = plan.completion();
            let document = String::from_utf8_lossy(&document);
            for index in 0..parts {
                let md5 = hex::encode(Md5::digest(&plan.upload(index).wire));
                let named = format!("<PartNumber>{}</PartNumber><ETag>&quot;{md5}&quot;</ETag>", index + 1);
                assert!(document.contains(&named), "{named} in {document}");
            }
        }
    }

    #[test]
    fn what_no_upload_can_be_is_refused() {
        assert!(Plan::new(0, 1, Payload::Unsigned, 1).is_err());
        assert!(Plan::new(1, 0, Payload::Unsigned, 1).is_err());
        assert!(Plan::new(10_001, 1, Payload::Unsigned, 1).is_err());
    }

    #[test]
    fn the_document_of_complete() {
        assert_eq!(
            completion(["aa", "bb"].into_iter()),
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Part><PartNumber>1</PartNumber><ETag>&quot;aa&quot;</ETag></Part>\
             <Part><PartNumber>2</PartNumber><ETag>&quot;bb&quot;</ETag></Part></CompleteMultipartUpload>"
        );
    }
}
