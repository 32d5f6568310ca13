//! The one table of error codes: whose fault, whether to try again, S3's code and status, gRPC's code.

/// Who has to change something for the request to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is wrong and stays wrong.
    Client,
    /// We or a backend failed; the same request may work later.
    Server,
}

/// Why a call was not done. The names are S3's where S3 has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The key may not do this.
    AccessDenied,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The key does not exist.
    NoSuchKey,
    /// A condition of the request does not hold.
    PreconditionFailed,
    /// A concurrent write got in the way of a conditional one.
    ConditionalRequestConflict,
    /// No backend has room or may take the object.
    InsufficientStorage,
    /// Larger than the bucket allows.
    EntityTooLarge,
    /// A key over 1024 bytes.
    KeyTooLong,
    /// Anything else that is wrong with the request.
    InvalidArgument,
    /// The write was given up before it was committed: its lease ran out, or the database forgot it.
    WriteLost,
    /// Busy or briefly unable: try again.
    ServiceUnavailable,
    /// A bug or a broken row.
    InternalError,
    /// The caller lacks a feature that the cluster requires.
    FeatureRequired,
    /// The multipart upload does not exist, or is completed or aborted.
    NoSuchUpload,
    /// A part was not uploaded, or is another than the one that was meant.
    InvalidPart,
    /// Somebody else has a bucket of that name.
    BucketAlreadyExists,
    /// The caller has a bucket of that name.
    BucketAlreadyOwnedByYou,
    /// The bucket has objects, uploads, or writes under way.
    BucketNotEmpty,
    /// The caller has made as many buckets as one may.
    TooManyBuckets,
    /// What the call needs is being changed by another; later it can be done.
    OperationAborted,
    /// The key has no version of that name.
    NoSuchVersion,
    /// What is named is a delete marker.
    MethodNotAllowed,
    /// The bucket lacks what the request is about.
    InvalidRequest,
    /// The bucket is not in a state in which this can be done.
    InvalidBucketState,
}

/// What a code means on each surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorInfo {
    /// S3's error code (S3 API reference, "Error responses").
    pub s3: &'static str,
    /// HTTP status on the S3 port.
    pub http: u16,
    /// gRPC status code number (`google.rpc.Code`).
    pub grpc: i32,
    /// Whose fault.
    pub fault: Fault,
    /// Whether the same request may be sent again.
    pub retryable: bool,
    /// Stable number on the wire and in the change log. Never reused.
    pub wire: i32,
}

const fn row(s3: &'static str, http: u16, grpc: i32, fault: Fault, retryable: bool, wire: i32) -> ErrorInfo {
    ErrorInfo { s3, http, grpc, fault, retryable, wire }
}

impl ErrorCode {
    /// All of them, in the order of their wire numbers.
    pub const ALL: [Self; 24] = [
        Self::AccessDenied,
        Self::NoSuchBucket,
        Self::NoSuchKey,
        Self::PreconditionFailed,
        Self::ConditionalRequestConflict,
        Self::InsufficientStorage,
        Self::EntityTooLarge,
        Self::KeyTooLong,
        Self::InvalidArgument,
        Self::WriteLost,
        Self::ServiceUnavailable,
        Self::InternalError,
        Self::FeatureRequired,
        Self::NoSuchUpload,
        Self::InvalidPart,
        Self::BucketAlreadyExists,
        Self::BucketAlreadyOwnedByYou,
        Self::BucketNotEmpty,
        Self::TooManyBuckets,
        Self::OperationAborted,
        Self::NoSuchVersion,
        Self::MethodNotAllowed,
        Self::InvalidRequest,
        Self::InvalidBucketState,
    ];

    /// THE table.
    pub const fn info(self) -> ErrorInfo {
        use Fault::{Client, Server};
        match self {
            Self::AccessDenied => row("AccessDenied", 403, 7, Client, false, 1),
            Self::NoSuchBucket => row("NoSuchBucket", 404, 5, Client, false, 2),
            Self::NoSuchKey => row("NoSuchKey", 404, 5, Client, false, 3),
            Self::PreconditionFailed => row("PreconditionFailed", 412, 9, Client, false, 4),
            Self::ConditionalRequestConflict => row("ConditionalRequestConflict", 409, 10, Client, true, 5),
            Self::InsufficientStorage => row("InsufficientStorage", 507, 8, Server, false, 6),
            Self::EntityTooLarge => row("EntityTooLarge", 400, 3, Client, false, 7),
            Self::KeyTooLong => row("KeyTooLongError", 400, 3, Client, false, 8),
            Self::InvalidArgument => row("InvalidArgument", 400, 3, Client, false, 9),
            Self::WriteLost => row("ServiceUnavailable", 503, 10, Server, true, 10),
            Self::ServiceUnavailable => row("ServiceUnavailable", 503, 14, Server, true, 11),
            Self::InternalError => row("InternalError", 500, 13, Server, true, 12),
            Self::FeatureRequired => row("ServiceUnavailable", 503, 9, Server, true, 13),
            Self::NoSuchUpload => row("NoSuchUpload", 404, 5, Client, false, 14),
            Self::InvalidPart => row("InvalidPart", 400, 9, Client, false, 15),
            Self::BucketAlreadyExists => row("BucketAlreadyExists", 409, 6, Client, false, 30),
            Self::BucketAlreadyOwnedByYou => row("BucketAlreadyOwnedByYou", 409, 6, Client, false, 31),
            Self::BucketNotEmpty => row("BucketNotEmpty", 409, 9, Client, false, 32),
            Self::TooManyBuckets => row("TooManyBuckets", 400, 8, Client, false, 33),
            Self::OperationAborted => row("OperationAborted", 409, 10, Client, true, 34),
            Self::NoSuchVersion => row("NoSuchVersion", 404, 5, Client, false, 20),
            Self::MethodNotAllowed => row("MethodNotAllowed", 405, 9, Client, false, 21),
            Self::InvalidRequest => row("InvalidRequest", 400, 9, Client, false, 40),
            Self::InvalidBucketState => row("InvalidBucketState", 409, 6, Client, false, 41),
        }
    }

    /// By the number on the wire. `None` for one that a newer release added: treat it as unknown.
    pub fn from_wire(wire: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.info().wire == wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_numbers_are_unique_and_found_again() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.info().wire), Some(code));
        }
        assert_eq!(ErrorCode::from_wire(0), None);
        assert_eq!(ErrorCode::from_wire(999), None);
    }
}
