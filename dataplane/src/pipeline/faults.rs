//! What failed, as S3 says it.

use std::error::Error;

use s3o_blob::BodyFault;
use s3o_types::{ErrorCode, Timestamp};
use s3s::stream::aws_chunked_stream::AwsChunkedStreamError;
use s3s::stream::upload_stream::UploadStreamError;
use s3s::{S3Error, S3ErrorCode, s3_error};

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::control::Failure;
use crate::ops::headers;

/// An error of our table.
pub(crate) fn of_code(code: ErrorCode, message: impl Into<String>) -> S3Error {
    let info = code.info();
    let mut error = S3Error::new(s3_code(info.s3));
    let message = message.into();
    if !message.is_empty() {
        error.set_message(message);
    }
    if let Ok(status) = StatusCode::from_u16(info.http) {
        error.set_status_code(status);
    }
    error
}

/// By S3's name, for codes that `s3s` does not know too.
fn s3_code(name: &str) -> S3ErrorCode {
    // Infallible: names that are not known become custom codes.
    S3ErrorCode::from_bytes(name.as_bytes()).unwrap_or(S3ErrorCode::InternalError)
}

/// A code that `s3s` does not know, with its status and message.
pub(crate) fn custom(code: &'static str, status: StatusCode, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(s3_code(code), message);
    error.set_status_code(status);
    error
}

/// A call to the control plane that gave nothing.
pub(crate) fn of_failure(failure: Failure) -> S3Error {
    match failure {
        // Said of nothing but a marker whose tags or lock were to be changed.
        Failure::Refused { code: code @ ErrorCode::MethodNotAllowed, message } => {
            let mut error = of_code(code, message);
            error.set_headers(of_marker(true));
            error
        }
        Failure::Refused { code, .. } if says_all(code) => of_code(code, ""),
        Failure::Refused { code, message } => of_code(code, message),
        Failure::Marker { version_id, modified, named } => marker(&version_id, modified, named),
        Failure::Unknown => unavailable("The metadata service did not answer in time. Please try again."),
    }
}

/// Codes of which there is no more to say than S3's own words, for which scripts look.
const fn says_all(code: ErrorCode) -> bool {
    use ErrorCode as E;
    matches!(
        code,
        E::NoSuchKey
            | E::NoSuchBucket
            | E::PreconditionFailed
            | E::KeyTooLong
            | E::BucketAlreadyExists
            | E::BucketAlreadyOwnedByYou
    )
}

/// A delete marker where an object was wanted: 405 where it was named, else the key is said not to exist.
fn marker(version_id: &str, modified: Timestamp, named: bool) -> S3Error {
    let code = if named { ErrorCode::MethodNotAllowed } else { ErrorCode::NoSuchKey };
    let why = "The specified method is not allowed against this resource.";
    let mut error = of_code(code, if named { why } else { "The specified key does not exist." });
    let mut headers = of_marker(named);
    if let Ok(version) = HeaderValue::try_from(version_id) {
        headers.insert("x-amz-version-id", version);
    }
    if named {
        headers::last_modified(&mut headers, modified);
    }
    error.set_headers(headers);
    error
}

/// By which clients tell a marker from what is not there. One that is named can be deleted only.
fn of_marker(named: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if named {
        headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
    }
    headers
}

/// 503: the same request may be sent again.
pub(crate) fn unavailable(message: &'static str) -> S3Error {
    of_code(ErrorCode::ServiceUnavailable, message)
}

/// 400: the client wants something that makes no sense.
pub(crate) fn invalid_argument(message: impl Into<String>) -> S3Error {
    of_code(ErrorCode::InvalidArgument, message)
}

/// A body that is not what the client said.
pub(crate) fn of_body(fault: &BodyFault) -> S3Error {
    match fault {
        BodyFault::ShortBody { .. } | BodyFault::LongBody { .. } => s3_error!(IncompleteBody),
        BodyFault::BadMd5 => s3_error!(BadDigest),
        BodyFault::BadSha256 => sha256_mismatch(),
        BodyFault::BadChecksum(algorithm) => {
            let name = algorithm.name().to_ascii_uppercase();
            s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum.")
        }
        // Of no client's body is anything kept before it came.
        BodyFault::BadDigest(_) => of_code(ErrorCode::InternalError, fault.to_string()),
        BodyFault::BadTrailer(_) => custom(
            "MalformedTrailerError",
            StatusCode::BAD_REQUEST,
            "The request contained trailing data that was not well-formed or did not conform to what was announced.",
        ),
        BodyFault::Source(error) => of_source(&**error),
    }
}

fn sha256_mismatch() -> S3Error {
    custom(
        "XAmzContentSHA256Mismatch",
        StatusCode::BAD_REQUEST,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
}

/// What `s3s` or the connection found wrong while the body came.
fn of_source(error: &(dyn Error + Send + Sync + 'static)) -> S3Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(UploadStreamError::Sha256Mismatch) = error.downcast_ref() {
            return sha256_mismatch();
        }
        if let Some(error) = error.downcast_ref::<AwsChunkedStreamError>()
            && !matches!(error, AwsChunkedStreamError::Underlying(_))
        {
            return S3Error::new(error.to_s3_error_code());
        }
        cause = error.source();
    }
    // The connection broke, or the body ended early: the client will hardly hear it.
    s3_error!(IncompleteBody)
}

/// Why a streamed signature was refused, for the metric; `None` when it was something else.
pub(crate) fn streaming_reason(fault: &BodyFault) -> Option<&'static str> {
    let BodyFault::Source(error) = fault else { return None };
    let mut cause: Option<&(dyn Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<AwsChunkedStreamError>() {
            return Some(match error {
                AwsChunkedStreamError::SignatureMismatch => "signature_mismatch",
                AwsChunkedStreamError::Incomplete | AwsChunkedStreamError::LengthMismatch => {
                    "length_mismatch"
                }
                AwsChunkedStreamError::Underlying(_) => return None,
                _ => "malformed",
            });
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn source(error: impl Error + Send + Sync + 'static) -> BodyFault {
        BodyFault::Source(Arc::new(error))
    }

    #[test]
    fn bodies() {
        let code = |fault: &BodyFault| {
            let error = of_body(fault);
            (error.code().as_str().to_owned(), error.status_code().map(|status| status.as_u16()))
        };
        let is = |name: &str| (name.to_owned(), Some(400));
        assert_eq!(code(&BodyFault::BadMd5), is("BadDigest"));
        assert_eq!(code(&BodyFault::ShortBody { expected: 2, seen: 1 }), is("IncompleteBody"));
        assert_eq!(code(&source(UploadStreamError::Sha256Mismatch)), is("XAmzContentSHA256Mismatch"));
        assert_eq!(code(&source(UploadStreamError::Incomplete)), is("IncompleteBody"));
        assert_eq!(code(&BodyFault::BadTrailer(String::new())), is("MalformedTrailerError"));
        let signature = source(AwsChunkedStreamError::SignatureMismatch);
        assert_eq!(of_body(&signature).code().as_str(), "SignatureDoesNotMatch");
        assert_eq!(streaming_reason(&signature), Some("signature_mismatch"));
    }

    #[test]
    fn markers_are_told_from_what_is_not_there() {
        let of = |failure: Failure| {
            let error = of_failure(failure);
            let headers = error.headers().cloned().unwrap_or_default();
            let is_marker = headers.get("x-amz-delete-marker").is_some_and(|value| value == "true");
            (error.code().as_str().to_owned(), is_marker, headers.contains_key(ALLOW))
        };
        let found =
            |named| of(Failure::Marker { version_id: "null".to_owned(), modified: Timestamp(0), named });
        let refused = |code| of(Failure::Refused { code, message: String::new() });
        assert_eq!(found(false), ("NoSuchKey".to_owned(), true, false));
        assert_eq!(found(true), ("MethodNotAllowed".to_owned(), true, true));
        assert_eq!(refused(ErrorCode::MethodNotAllowed), ("MethodNotAllowed".to_owned(), true, true));
        assert_eq!(refused(ErrorCode::NoSuchKey), ("NoSuchKey".to_owned(), false, false));
    }

    #[test]
    fn s3_has_its_own_words() {
        let of = |code| of_failure(Failure::Refused { code, message: "ours".to_owned() });
        assert_eq!(of(ErrorCode::NoSuchKey).message(), Some("The specified key does not exist."));
        assert_eq!(of(ErrorCode::BucketNotEmpty).message(), Some("ours"), "it says what is in it");
    }

    #[test]
    fn the_table_holds_on_the_wire() {
        for code in ErrorCode::ALL {
            let error = of_code(code, "why");
            assert_eq!(error.code().as_str(), code.info().s3);
            assert_eq!(error.status_code().map(|status| status.as_u16()), Some(code.info().http));
        }
    }
}
