//! From what HTTP and the SDK report to [`BackendError`]: the one place where statuses are read.
//!
//! Invariant: a write is `Cut` after an answer only where S3 means by it that nothing was stored.

use std::error::Error as _;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::error::{BackendError, BackendErrorKind, Certainty};

/// What an error answer's XML may have at most; S3's have a few hundred bytes.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// What an error answer may take: its status alone is enough to decide.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(2);

/// Reads a failed answer.
pub(crate) async fn from_response(status: StatusCode, body: Incoming) -> BackendError {
    let read = Limited::new(body, MAX_ERROR_BYTES).collect();
    let text = match tokio::time::timeout(ERROR_BODY_PATIENCE, read).await {
        Ok(Ok(whole)) => String::from_utf8_lossy(&whole.to_bytes()).into_owned(),
        _ => String::new(),
    };
    let code = element(&text, "Code");
    from_status(status.as_u16(), code, element(&text, "Message").unwrap_or_default())
}

/// The text of the first such element. An error answer is too simple to need a parser.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

pub(crate) fn from_status(status: u16, code: Option<&str>, message: &str) -> BackendError {
    let kind = kind_of(status, code);
    let code = code.unwrap_or("no error code");
    BackendError {
        kind,
        certainty: certainty_of(status, code),
        message: if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") },
        status: Some(status),
    }
}

/// What a server that has no `CopyObject`, or a part of it, says of it: a 501 of a proxy says nothing of the server.
const NOT_IMPLEMENTED: &str = "NotImplemented";

fn kind_of(status: u16, code: Option<&str>) -> BackendErrorKind {
    use BackendErrorKind::{Denied, NotFound, Rejected, Server, Throttled};
    match (status, code.unwrap_or_default()) {
        // A missing bucket says nothing of the blob: taking it for absence would lose data.
        (
            _,
            "NoSuchBucket"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "ExpiredToken"
            | "InvalidToken"
            | "RequestTimeTooSkewed",
        )
        | (300..=399 | 401 | 403, _) => Denied,
        (
            _,
            "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequests",
        )
        | (429, _) => Throttled,
        (404, _) => NotFound,
        (400..=499, _) => Rejected,
        _ => Server,
    }
}

fn certainty_of(status: u16, code: &str) -> Certainty {
    match (status, code) {
        // Given by whatever stands before the server as well, while the server may go on.
        (408 | 425 | 429 | 499, _) => Certainty::Unknown,
        (300..=499, _) | (501, NOT_IMPLEMENTED) => Certainty::Cut,
        _ => Certainty::Unknown,
    }
}

/// A request that got no answer. `certainty` is what the body's state says; a connection that was
/// never there proves more.
pub(crate) fn from_hyper(error: &hyper_util::client::legacy::Error, certainty: Certainty) -> BackendError {
    let canceled = error
        .source()
        .and_then(|source| source.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_canceled);
    let certainty = match certainty {
        _ if error.is_connect() => Certainty::NotSent,
        // hyper gave the request back unsent, and nothing of the body was handed over.
        Certainty::Cut if canceled => Certainty::NotSent,
        other => other,
    };
    BackendError::new(BackendErrorKind::Connection, certainty, chain(error))
}

/// An error with all its causes: hyper's own text says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A failed call of the SDK.
pub(crate) fn from_sdk<E>(error: &SdkError<E, HttpResponse>) -> BackendError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => {
            BackendError::new(BackendErrorKind::Rejected, Certainty::NotSent, chain(error))
        }
        SdkError::TimeoutError(_) => {
            BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, chain(error))
        }
        SdkError::DispatchFailure(failure) => {
            let kind =
                if failure.is_timeout() { BackendErrorKind::Timeout } else { BackendErrorKind::Connection };
            BackendError::new(kind, Certainty::Unknown, chain(error))
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let mut found =
                from_status(status, service.err().code(), service.err().message().unwrap_or_default());
            // An error inside a 200, as CopyObject sends it, or what is no answer at all.
            if status < 300 {
                found.kind = BackendErrorKind::Server;
                if service.err().code().is_none() {
                    found.message = chain(error);
                }
            }
            found
        }
        other => BackendError::new(BackendErrorKind::Server, Certainty::Unknown, chain(other)),
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        use BackendErrorKind::{Denied, NotFound, Rejected, Server, Throttled};
        use Certainty::{Cut, Unknown};
        let table = [
            (404, Some("NoSuchKey"), NotFound, Cut),
            (404, None, NotFound, Cut),
            (404, Some("NoSuchBucket"), Denied, Cut),
            (403, None, Denied, Cut),
            (301, None, Denied, Cut),
            (400, Some("BadDigest"), Rejected, Cut),
            (412, None, Rejected, Cut),
            (408, None, Rejected, Unknown),
            (429, None, Throttled, Unknown),
            (503, Some("SlowDown"), Throttled, Unknown),
            (503, None, Server, Unknown),
            (501, Some("NotImplemented"), Server, Cut),
            (501, None, Server, Unknown),
            (500, Some("InternalError"), Server, Unknown),
        ];
        for (status, code, kind, certainty) in table {
            let error = from_status(status, code, "");
            assert_eq!((error.kind, error.certainty), (kind, certainty), "{status} {code:?}");
        }
    }

    #[test]
    fn elements() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>wait</Message></Error>";
        assert_eq!(
            (element(xml, "Code"), element(xml, "Message"), element(xml, "Key")),
            (Some("SlowDown"), Some("wait"), None)
        );
        assert_eq!(element("<Code>", "Code"), None);
    }
}
