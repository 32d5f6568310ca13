//! The faults there are, and the rules that say when they strike.

use std::time::Duration;

/// What a request is, by S3's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `PutObject`.
    Put,
    /// `GetObject`.
    Get,
    /// `HeadObject`.
    Head,
    /// `DeleteObject`.
    Delete,
    /// `CopyObject`.
    Copy,
    /// `ListObjectsV2`.
    List,
    /// Anything else.
    Other,
}

/// What goes wrong. Where nothing else is said, it applies to any operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Waits, then goes on as if nothing were.
    Latency(Duration),
    /// Reads the whole request, does nothing, answers this status. 404 says `NoSuchKey`, 503 `SlowDown`.
    Status(u16),
    /// Answers this status without reading the body.
    StatusEarly(u16),
    /// PUT: resets the connection after so many bytes of the body. Nothing is stored.
    ResetReceiving {
        /// Bytes of the body.
        after: u64,
    },
    /// GET: resets the connection after so many bytes of the answer's body.
    ResetSending {
        /// Bytes of the body.
        after: u64,
    },
    /// GET: sends so many bytes, then nothing more, and keeps the connection.
    StallSending {
        /// Bytes of the body.
        after: u64,
    },
    /// PUT: takes so many bytes, then no more, and keeps the connection.
    StallReceiving {
        /// Bytes of the body.
        after: u64,
    },
    /// PUT: takes so many bytes, then none for a while, then goes on as if nothing were.
    PauseReceiving {
        /// Bytes of the body.
        after: u64,
        /// How long.
        pause: Duration,
    },
    /// Does the work, then closes the connection in place of an answer.
    LostReply,
    /// PUT: closes the connection in place of an answer, and stores the blob only after a while.
    Late(Duration),
    /// PUT: stores the blob, answers a wrong MD5 as its ETag.
    WrongEtag,
    /// PUT with a checksum behind the body: stores the blob, answers another checksum.
    WrongChecksum,
    /// PUT with a checksum behind the body: does not compare it.
    IgnoresTrailer,
    /// Answers 400 to a request with this header, as a backend that does not know it.
    Refuses {
        /// In lower case.
        header: &'static str,
        /// Only this value; empty: any.
        value: &'static str,
    },
    /// PUT, GET, HEAD: answers an ETag that is no MD5, as with server-side encryption by key.
    OpaqueEtag,
    /// Reads nothing, answers nothing.
    Hang,
    /// Does the work, answers nothing, keeps the connection.
    HangReply,
    /// GET: only the first bytes of the blob, with a length that says so.
    Truncated {
        /// Bytes that are left.
        keep: u64,
    },
    /// PUT: stores the blob with one bit flipped, answers the right ETag. GET: sends one bit flipped.
    BitFlip,
}

/// When a fault strikes: the first rule that matches a request is used up once by it.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) fault: Fault,
    pub(super) operation: Option<Operation>,
    pub(super) key_contains: String,
    pub(super) skip: u64,
    pub(super) left: u64,
}

impl Rule {
    /// On every request, until [`super::FaultyBackend::heal`].
    pub fn new(fault: Fault) -> Self {
        Self { fault, operation: None, key_contains: String::new(), skip: 0, left: u64::MAX }
    }

    /// Only on this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only on storage keys that contain this.
    #[must_use]
    pub fn key_contains(mut self, part: &str) -> Self {
        part.clone_into(&mut self.key_contains);
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.left = times;
        self
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    fn matches(&self, operation: Operation, key: &str) -> bool {
        self.left > 0
            && self.operation.is_none_or(|wanted| wanted == operation)
            && key.contains(&self.key_contains)
    }
}

/// The fault of the first rule that strikes now; uses the rule up once.
pub(super) fn strike(rules: &mut [Rule], operation: Operation, key: &str) -> Option<Fault> {
    for rule in rules.iter_mut().filter(|rule| rule.matches(operation, key)) {
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        rule.left = if rule.left == u64::MAX { rule.left } else { rule.left - 1 };
        return Some(rule.fault.clone());
    }
    None
}
