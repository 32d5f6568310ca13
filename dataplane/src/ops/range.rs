//! Which bytes a GET wants.
//!
//! Invariant: a resolved range is never empty and never reaches beyond the object.

use s3s::dto::Range;

/// Bytes `start..end` of an object of `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
}

impl Slice {
    /// All of an object.
    pub(crate) const fn all(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    /// Bytes in it.
    pub(crate) const fn len(self) -> u64 {
        self.end - self.start
    }

    /// As `Content-Range` says it, which has no way to say where no byte is.
    pub(crate) fn content_range(self, size: u64) -> Option<String> {
        (self.len() > 0).then(|| format!("bytes {}-{}/{size}", self.start, self.end - 1))
    }
}

/// No byte of the object is in the range: 416.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsatisfiable;

/// Resolves the header against the object's size. `None` when the whole object is wanted.
pub(crate) fn resolve(range: Option<&Range>, size: u64) -> Result<Option<Slice>, Unsatisfiable> {
    let Some(range) = range else { return Ok(None) };
    let slice = match *range {
        Range::Int { first, .. } if first >= size => return Err(Unsatisfiable),
        Range::Int { first, last: None } => Slice { start: first, end: size },
        Range::Int { first, last: Some(last) } => {
            Slice { start: first, end: last.saturating_add(1).min(size) }
        }
        Range::Suffix { length: 0 } => return Err(Unsatisfiable),
        Range::Suffix { .. } if size == 0 => return Err(Unsatisfiable),
        Range::Suffix { length } => Slice { start: size - length.min(size), end: size },
    };
    Ok(Some(slice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str, size: u64) -> Result<Option<Slice>, Unsatisfiable> {
        resolve(Some(&Range::parse(header).expect("a range")), size)
    }

    #[test]
    fn every_form() {
        assert_eq!(resolve(None, 10), Ok(None));
        assert_eq!(of("bytes=0-3", 10), Ok(Some(Slice { start: 0, end: 4 })));
        assert_eq!(of("bytes=4-", 10), Ok(Some(Slice { start: 4, end: 10 })));
        assert_eq!(of("bytes=4-99", 10), Ok(Some(Slice { start: 4, end: 10 })));
        assert_eq!(of("bytes=9-9", 10), Ok(Some(Slice { start: 9, end: 10 })));
        assert_eq!(of("bytes=-3", 10), Ok(Some(Slice { start: 7, end: 10 })));
        assert_eq!(of("bytes=-99", 10), Ok(Some(Slice { start: 0, end: 10 })));
    }

    #[test]
    fn unsatisfiable() {
        for (header, size) in
            [("bytes=10-", 10), ("bytes=10-11", 10), ("bytes=-0", 10), ("bytes=0-0", 0), ("bytes=-1", 0)]
        {
            assert_eq!(of(header, size), Err(Unsatisfiable), "{header} of {size}");
        }
    }

    #[test]
    fn content_range() {
        assert_eq!(Slice { start: 2, end: 5 }.content_range(9).as_deref(), Some("bytes 2-4/9"));
        assert_eq!(Slice { start: 0, end: 0 }.content_range(9), None);
        assert_eq!(Slice::all(9).len(), 9);
    }
}
