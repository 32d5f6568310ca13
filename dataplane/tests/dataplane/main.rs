//! The S3 endpoint against a control plane and backends in memory. One module a concern.

#![allow(clippy::unwrap_used, clippy::pedantic, reason = "helpers of a test may fail as tests do")]

mod fake;
mod s3_bodies;
mod s3_degraded;
mod s3_fanout;
mod s3_integrity;
mod s3_objects;
mod s3_reads;
mod s3_requests;
mod s3_tagging;
mod world;
