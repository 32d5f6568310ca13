//! What tests of several crates share: a history checker, and S3 backends that fail on purpose.

pub mod history;
pub mod s3server;
