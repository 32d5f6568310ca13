//! GETs of a part of an object.
//!
//! Invariant: what such a GET says is judged by the object whose ETag it names: the answer is a 206, and its bytes are
//! those that this object has there.

use std::ops::Range;

use bytes::Bytes;
use rand::RngExt as _;
use rand::rngs::StdRng;
use s3o_testkit::history::Call;

use super::reads::{Heard, Seen, absent};
use super::{SIZES, Target, Worker};
use crate::campaign::content::Content;
use crate::s3::{Failure, unquoted};

/// No object of the campaign is smaller.
const SMALLEST: usize = SIZES[0];
/// More bytes than most objects have: a range that ends beyond an object is cut.
const LONGEST: usize = 400_000;

/// What is asked for, as `Range` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    /// From one byte to another, both included.
    Between(usize, usize),
    /// The last bytes.
    Last(usize),
}

/// An answer.
struct Part {
    etag: String,
    /// `Content-Range`.
    place: Option<String>,
    /// `Content-Length`.
    length: Option<i64>,
    body: Bytes,
}

impl Span {
    /// The first bytes, some in the middle, or the last ones.
    fn draw(random: &mut StdRng) -> Self {
        let length = random.random_range(1..=LONGEST);
        match random.random_range(0..4) {
            0 => Self::Between(0, length - 1),
            1 => {
                let first = random.random_range(1..SMALLEST);
                Self::Between(first, first + length - 1)
            }
            2 => {
                let size = SIZES[random.random_range(1..SIZES.len())];
                let first = random.random_range(1..size);
                Self::Between(first, first + length - 1)
            }
            _ => Self::Last(length),
        }
    }

    /// What it is counted as: only far ranges may begin behind the end of the object, which a 416 says.
    fn operation(self) -> &'static str {
        match self {
            Self::Between(first, _) if first >= SMALLEST => "get far range",
            _ => "get range",
        }
    }

    fn header(self) -> String {
        match self {
            Self::Between(first, last) => format!("bytes={first}-{last}"),
            Self::Last(length) => format!("bytes=-{length}"),
        }
    }

    /// Which bytes that are of an object of `size` bytes.
    fn of(self, size: usize) -> Range<usize> {
        match self {
            Self::Between(first, last) => first.min(size)..(last + 1).min(size),
            Self::Last(length) => size.saturating_sub(length)..size,
        }
    }
}

impl Part {
    fn is_of(&self, content: &Content, span: Span) -> bool {
        let (size, range) = (content.size(), span.of(content.size()));
        let place = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
        self.place.as_ref() == Some(&place) && self.body == content.slice(&range)
    }
}

impl Worker {
    pub(super) async fn get_range(&mut self, target: &Target) -> bool {
        let span = Span::draw(&mut self.random);
        let (plane, heard) = (self.plane(), Heard::default());
        let pending = self.board.recorder.invoke(&self.name, &target.name(), Call::Read);
        let call = plane.get_object().bucket(target.bucket.name).key(&target.key).range(span.header());
        let seen = match call.customize().interceptor(heard.clone()).send().await {
            Ok(object) => {
                let (etag, length) = (unquoted(object.e_tag()), object.content_length());
                let place = object.content_range().map(str::to_owned);
                match object.body.collect().await {
                    Ok(body) => {
                        let part = Part { etag, place, length, body: body.into_bytes() };
                        self.judge_part(span, part, heard.status())
                    }
                    Err(error) => Err(Failure::Silence(format!("body: {error}"))),
                }
            }
            Err(error) => absent(Failure::of(&error)),
        };
        // A 416 is no outcome either: the object may have been any that is small enough.
        pending.end(self.outcome(&seen, heard.is_degraded()));
        self.count(span.operation(), &target.name(), &seen.map(drop))
    }

    fn judge_part(&self, span: Span, part: Part, status: u16) -> Seen {
        if part.length != i64::try_from(part.body.len()).ok() {
            return Err(Failure::Silence(format!("{} of {:?} bytes came", part.body.len(), part.length)));
        }
        let is_right = self.board.content(&part.etag).is_some_and(|content| part.is_of(&content, span));
        if status == 206 && is_right {
            return Ok(Some(part.etag));
        }
        if status == 206 && self.board.is_damaged(&part.etag) {
            // The damage is ours, and nothing says what a part of a plain blob should be.
            self.board.count("range of a damaged object", "other bytes".to_owned());
            return Err(Failure::Silence("damaged".to_owned()));
        }
        let Part { etag, place, body, .. } = part;
        let asked = span.header();
        Ok(Some(format!("torn: etag {etag}, {asked}: {status}, {place:?}, {} bytes, others", body.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_of_the_object() {
        assert_eq!(Span::Between(0, 9).of(40), 0..10);
        assert_eq!(Span::Between(39, 99).of(40), 39..40);
        assert_eq!(Span::Last(99).of(40), 0..40);
        assert_eq!(Span::Last(1).of(40), 39..40);
        assert_eq!(Span::Between(SMALLEST, SMALLEST).operation(), "get far range");
    }
}
