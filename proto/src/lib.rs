//! The wire: what data planes, control planes and admin clients say to each other.
//!
//! Architecture invariant: wire types only. Conversions to domain types stand in `crates/wire` where both planes have
//! the value, else beside the service or the client that uses them; with every field named, so that a new field breaks
//! the build there.

/// Version 1 of the wire. Fields are added, never renumbered; what a reader does not know it ignores,
/// and what it must not ignore is announced in `required_features`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("s3o.v1");
}

/// Features of the wire that this build understands, for `Hello.features`.
pub const FEATURES: &[&str] = &["versions"];

/// Largest gRPC message either side accepts, in bytes. A listing of 1,000 keys of 1024 bytes with
/// their metadata stays well below.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Metadata key of the shared token on every call: `authorization: Bearer {token}`.
pub const AUTHORIZATION: &str = "authorization";
