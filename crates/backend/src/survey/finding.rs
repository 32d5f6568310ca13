//! What is said of one thing that was asked.

use crate::error::{BackendError, BackendErrorKind};

/// What a thing that was asked came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// As it is configured, it works.
    Ok,
    /// It works only with the setting that is named.
    Needs,
    /// It does not work, and no setting helps.
    Unsupported,
    /// It could not be seen.
    Unknown,
}

impl Verdict {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Needs => "needs",
            Self::Unsupported => "unsupported",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What: the setting's name, where there is one.
    pub name: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// For people: what was seen, and what it means where no setting helps.
    pub detail: String,
    /// A line for the backend's declaration in YAML, where another one than now is needed or better.
    pub setting: Option<String>,
}

impl Finding {
    fn new(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into(), setting: None }
    }

    pub(super) fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, detail)
    }

    pub(super) fn needs(name: &'static str, detail: impl Into<String>, setting: String) -> Self {
        Self { setting: Some(setting), ..Self::new(name, Verdict::Needs, detail) }
    }

    pub(super) fn unsupported(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Unsupported, detail)
    }

    pub(super) fn unknown(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Verdict::Unknown, detail)
    }

    /// After an error: a backend that did not answer, or not to this question, has not said no.
    pub(super) fn failed(name: &'static str, error: &BackendError, meaning: &str) -> Self {
        if is_no(error) {
            Self::unsupported(name, format!("{error}; {meaning}"))
        } else {
            Self::unknown(name, error.to_string())
        }
    }

    pub(super) fn with_setting(self, setting: Option<String>) -> Self {
        Self { setting, ..self }
    }
}

/// Whether it is an answer that would be the same the next time.
pub(super) fn is_no(error: &BackendError) -> bool {
    use BackendErrorKind::{
        Body, Connection, Denied, Mismatch, NotFound, Rejected, Server, Throttled, Timeout,
    };
    match error.kind {
        Rejected | NotFound | Mismatch => true,
        Server => error.status.is_none_or(|status| status < 500 || status == 501),
        Body | Connection | Denied | Throttled | Timeout => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Certainty;

    #[test]
    fn only_a_no_is_unsupported() {
        let verdict = |kind, status| {
            let error = BackendError { status, ..BackendError::new(kind, Certainty::Cut, "") };
            Finding::failed("x", &error, "so").verdict
        };
        assert_eq!(verdict(BackendErrorKind::Rejected, Some(400)), Verdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, Some(501)), Verdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, Some(200)), Verdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, None), Verdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, Some(500)), Verdict::Unknown);
        assert_eq!(verdict(BackendErrorKind::Denied, Some(403)), Verdict::Unknown);
        assert_eq!(verdict(BackendErrorKind::Timeout, None), Verdict::Unknown);
    }
}
