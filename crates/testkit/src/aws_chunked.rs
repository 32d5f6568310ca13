//! Takes `aws-chunked` framing with an unsigned trailer apart, as the bytes come.
//!
//! Invariant: a framing that is not understood is an error; nothing of it is taken for data.

use std::fmt;

/// The checksum that stands behind a body.
pub const CRC64NVME: &str = "x-amz-checksum-crc64nvme";

/// The longest line of framing: a length, or the trailer.
const LINE: usize = 128;

#[derive(Debug, Default)]
enum State {
    /// The line with the next chunk's length.
    #[default]
    Length,
    /// Bytes of the chunk that are still to come.
    Data(usize),
    /// The line end behind a chunk.
    Behind,
    Trailer,
    /// The empty line.
    Last,
    Done,
}

/// What is wrong with a framing.
#[derive(Debug)]
pub struct BrokenFraming(String);

impl fmt::Display for BrokenFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BrokenFraming {}

type Result<T> = std::result::Result<T, BrokenFraming>;

fn broken<T>(why: impl Into<String>) -> Result<T> {
    Err(BrokenFraming(why.into()))
}

/// A body on its way out of the framing.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    line: Vec<u8>,
    checksum: Option<String>,
}

impl Decoder {
    /// Gives the data in `bytes` to `take`, piece by piece.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        while !bytes.is_empty() {
            if let State::Data(left) = &mut self.state {
                let (data, rest) = bytes.split_at(bytes.len().min(*left));
                take(data);
                *left -= data.len();
                bytes = rest;
                if *left == 0 {
                    self.state = State::Behind;
                }
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if self.line.len() > LINE {
                return broken("a line of the framing has no end");
            }
            if self.line.ends_with(b"\r\n") {
                let line = std::mem::take(&mut self.line);
                self.line(&String::from_utf8_lossy(&line[..line.len() - 2]))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.state = match &self.state {
            State::Length => match usize::from_str_radix(line, 16) {
                Ok(0) => State::Trailer,
                Ok(length) => State::Data(length),
                Err(error) => return broken(format!("{line:?} is no length: {error}")),
            },
            State::Behind if line.is_empty() => State::Length,
            State::Trailer => {
                let value = line.strip_prefix(CRC64NVME).and_then(|rest| rest.strip_prefix(':'));
                let Some(value) = value else {
                    return broken(format!("another trailer was expected than {line}"));
                };
                self.checksum = Some(value.to_owned());
                State::Last
            }
            State::Last if line.is_empty() => State::Done,
            _ => return broken(format!("the framing is broken at {line:?}")),
        };
        Ok(())
    }

    /// The checksum behind the body, base64.
    pub fn end(self) -> Result<String> {
        match (self.state, self.checksum) {
            (State::Done, Some(checksum)) => Ok(checksum),
            _ => broken("the framing has no end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODED: &[u8] = b"5\r\nhello\r\n3\r\n\r\nx\r\n0\r\nx-amz-checksum-crc64nvme:AAAAAAAAAAA=\r\n\r\n";

    #[test]
    fn any_cut_gives_the_same() -> Result<()> {
        for cut in 0..ENCODED.len() {
            let (mut decoder, mut data) = (Decoder::default(), Vec::new());
            decoder.push(&ENCODED[..cut], |bytes| data.extend_from_slice(bytes))?;
            decoder.push(&ENCODED[cut..], |bytes| data.extend_from_slice(bytes))?;
            assert_eq!((data.as_slice(), decoder.end()?.as_str()), (&b"hello\r\nx"[..], "AAAAAAAAAAA="));
        }
        Ok(())
    }

    #[test]
    fn broken_framing_is_an_error() -> Result<()> {
        for broken in
            ["x\r\n", "1\r\nab\r\n", "0\r\nx-other:1\r\n", "0\r\nx-amz-checksum-crc64nvme:A\r\nmore\r\n"]
        {
            assert!(Decoder::default().push(broken.as_bytes(), |_| {}).is_err(), "{broken}");
        }
        let mut cut = Decoder::default();
        cut.push(&ENCODED[..ENCODED.len() - 1], |_| {})?;
        assert!(cut.end().is_err());
        Ok(())
    }
}
