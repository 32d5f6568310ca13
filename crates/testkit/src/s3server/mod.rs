//! An S3 server in memory that fails on purpose.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
//!
//! let backend = FaultyBackend::start().await?;
//! let spec = backend.spec(1, "b1"); // ready for a `BackendClient`
//! backend.inject(Rule::new(Fault::LostReply).on(Operation::Put).key_contains("cat").times(1));
//! // … do something …
//! assert_eq!(backend.count(Operation::Put), 1);
//! assert!(backend.keys().iter().any(|key| key.contains("cat")));
//! backend.kill().await; // connections reset, port closed, data kept
//! backend.restart().await?; // same port, same data
//! # Ok(()) }
//! ```
//!
//! It speaks path style, looks at no signature, takes any bucket name, and knows `PutObject`,
//! `GetObject` (Range, If-Match), `HeadObject`, `DeleteObject`, `CopyObject`, `ListObjectsV2`, `HeadBucket` and
//! `CreateBucket`. Without a rule it is a plain, honest S3 server ("null backend").
//!
//! A body in `aws-chunked` with a CRC-64/NVME behind it is compared with that, and the answer says it.
//!
//! Invariant: a PUT is stored only when its body arrived whole (and matches its Content-MD5 or trailer), exactly
//! as S3 does it; every departure from S3 is a [`Fault`] that some test asked for.

mod aws_chunked;
mod control;
mod discard;
mod fault;
mod objects;
mod serve;
mod store;
mod xml;

pub use control::FaultyBackend;
pub use fault::{Fault, Operation, Rule};
pub use store::Blob;
