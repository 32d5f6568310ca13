//! Everything HTTP of the control plane: health, metrics, and the admin API as REST.
//!
//! Architecture invariant: this crate knows the wire and the runtime, neither core nor store. The
//! admin handlers are clients of the Admin service like any other: they translate and decide nothing.
//!
//! To add an endpoint: its handler in `admin.rs` (or a file beside it), its line in [`routes::add`].

mod admin;
mod auth;
mod backend_probe;
mod drains;
mod edge;
mod failure;
mod lines;
mod probes;
mod rebalance;
mod reconcile;
mod recover;
mod removals;
mod routes;
mod scrub;
mod server;

pub use probes::Readiness;
pub use server::{Bound, HttpDeps, HttpOptions, HttpServer};
