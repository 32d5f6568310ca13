//! What an error says of the thing that was asked.

use s3o_types::ProbeFinding;

use crate::error::{BackendError, BackendErrorKind};

/// After an error: a backend that did not answer, or not to this question, has not said no.
pub(super) fn failed(name: &'static str, error: &BackendError, meaning: &str) -> ProbeFinding {
    if is_no(error) {
        ProbeFinding::unsupported(name, format!("{error}; {meaning}"))
    } else {
        ProbeFinding::unknown(name, error.to_string())
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
    use s3o_types::ProbeVerdict;

    use super::*;
    use crate::error::Certainty;

    #[test]
    fn only_a_no_is_unsupported() {
        let verdict = |kind, status| {
            let error = BackendError { status, ..BackendError::new(kind, Certainty::Cut, "") };
            failed("x", &error, "so").verdict
        };
        assert_eq!(verdict(BackendErrorKind::Rejected, Some(400)), ProbeVerdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, Some(501)), ProbeVerdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, Some(200)), ProbeVerdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, None), ProbeVerdict::Unsupported);
        assert_eq!(verdict(BackendErrorKind::Server, Some(500)), ProbeVerdict::Unknown);
        assert_eq!(verdict(BackendErrorKind::Denied, Some(403)), ProbeVerdict::Unknown);
        assert_eq!(verdict(BackendErrorKind::Timeout, None), ProbeVerdict::Unknown);
    }
}
