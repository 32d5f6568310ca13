//! What every process of ours needs and no process owns: configuration files, an orderly end,
//! logs, metrics, certificates.
//!
//! Architecture invariant: nothing of S3, of a database or of the wire is known here. Nothing runs
//! by being linked: every task is started by its caller and ends with the caller's [`Shutdown`].

pub mod audit;
pub mod config;
pub mod lifecycle;
pub mod metrics;
mod open_ops;
pub mod telemetry;
pub mod tls;

pub use config::{ByteSize, ConfigError, HumanDuration, Problems, Validate};
pub use lifecycle::{Reload, Shutdown};
pub use metrics::Metrics;
pub use open_ops::{OpenOp, OpenOps};
pub use telemetry::{LogConfig, LogFormat, LogHandle};
pub use tls::{TlsFiles, TlsServer};

/// The release, as `Hello`, `/metrics` and logs show it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[doc(hidden)]
pub use tracing as __tracing;
