//! Refusals and port errors as gRPC statuses, with details that name fields.

use prost::Message;
use s3o_core::call::Refusal;
use s3o_core::ports::PortError;
use tonic::{Code, Status};

/// `google.rpc.Status` (googleapis, google/rpc/status.proto): what `grpc-status-details-bin` holds.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.BadRequest` (googleapis, `google/rpc/error_details.proto`).
#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

/// `InvalidArgument` that says which field, for people and for programs.
pub(crate) fn bad_request(field: &str, description: &str) -> Status {
    about_field(Code::InvalidArgument, field, description)
}

/// Any code with the field it is about.
pub(crate) fn about_field(code: Code, field: &str, description: &str) -> Status {
    let violation = FieldViolation { field: field.to_owned(), description: description.to_owned() };
    let detail = Any {
        type_url: "type.googleapis.com/google.rpc.BadRequest".to_owned(),
        value: BadRequest { field_violations: vec![violation] }.encode_to_vec(),
    };
    let message = format!("{field}: {description}");
    let status = RpcStatus { code: code.into(), message: message.clone(), details: vec![detail] };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// By the one table.
pub(crate) fn refused(refusal: Refusal) -> Status {
    let Refusal { code, message, limit: _ } = refusal;
    Status::new(Code::from_i32(code.info().grpc), message)
}

/// The caller may try again, whatever it was.
pub(crate) fn port_failed(error: &PortError) -> Status {
    match error {
        PortError::Unavailable(_) => Status::unavailable(error.to_string()),
        PortError::Corrupt(_) => Status::internal(error.to_string()),
    }
}

/// Fields named by the details of a status.
#[cfg(test)]
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let details = RpcStatus::decode(status.details()).unwrap().details;
    let requests = details.iter().map(|any| BadRequest::decode(any.value.as_slice()).unwrap());
    requests.flat_map(|request| request.field_violations).map(|violation| violation.field).collect()
}
