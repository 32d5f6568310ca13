//! How errors are answered: `{"error": "… Request ID: …"}` with the matching status.
//!
//! Invariant: what a panic or a library said is never sent to the client; the request id leads to it.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use tonic::Code;

use crate::edge::{AMZ_REQUEST_ID, RequestId};

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
    id: RequestId,
}

#[derive(Serialize)]
struct Body {
    error: String,
}

impl Failure {
    pub(crate) fn new(status: u16, message: impl Into<String>, id: &RequestId) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, message: message.into(), id: id.clone() }
    }

    /// What the Admin service answered. Its messages are made for admin clients.
    pub(crate) fn of_status(status: &tonic::Status, id: &RequestId) -> Self {
        let code = match status.code() {
            Code::NotFound => 404,
            Code::InvalidArgument | Code::OutOfRange => 400,
            Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => 409,
            Code::ResourceExhausted => 429,
            Code::Unimplemented => 501,
            Code::Unavailable | Code::Cancelled => 503,
            Code::DeadlineExceeded => 504,
            _ => 500,
        };
        Self::new(code, status.message(), id)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status: _, message, id } = self;
        write!(f, "{message}. Request ID: {id}")
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status)
            .insert_header((AMZ_REQUEST_ID, self.id.as_str()))
            .json(Body { error: self.to_string() })
    }
}
