//! What tests of several crates share: a history checker, and S3 backends that fail on purpose.

pub mod aws_chunked;
pub mod history;
pub mod s3server;
