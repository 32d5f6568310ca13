//! The control plane's gRPC services: what data planes and admin clients reach.
//!
//! Architecture invariant: services translate and nothing else. Decisions are in `core`, reached
//! through its ports; no SQL and no store type is known here. Conversions stand beside the service
//! that uses them, those of values that data planes have, too, in `crates/wire`; they name every field of both sides,
//! so that a new field breaks the build.
//!
//! To add a call of the data plane: the proto, `operations/request.rs`, `operations/outcome.rs`.

mod admin;
mod auth;
mod buckets;
mod confirmation;
mod drains;
mod field;
mod in_process;
mod incoming;
mod lifecycle;
mod list;
mod object_lock;
mod operations;
mod probe;
mod rebalance;
mod recover;
mod removals;
mod runs;
mod scrub;
mod server;
mod session;
mod status;
mod ticks;
mod uploads;
mod versions;
mod wiring;

pub use admin::AdminService;
pub use in_process::in_process_admin;
pub use server::{GrpcConfig, GrpcServer, Tokens};
pub use session::commands::{Commands, DataPlaneCommand};
pub use session::reports::{Breaker, Reports, SeenBackend, SessionReport};
pub use wiring::{Ports, Wiring};

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
