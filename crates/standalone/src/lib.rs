//! Both planes in one process, for a single machine and for trying the system: a private PostgreSQL,
//! folder backends, one bucket and its keys.
//!
//! Architecture invariant: the one crate that links both planes. They still speak over the wire, with
//! a random token, as they do apart; nothing here reaches into either.
//!
//! On disk, beneath the data folder: `lock`, `standalone.json` (keys, mode 0600), `postgres/`,
//! `backends/{one,two,three}/`, `dataplane-snapshot.pb`.

mod announce;
mod declared;
mod folder;
mod lock;
mod planes;
mod run;
mod state;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use announce::Ready;
pub use folder::{FolderOptions, serve_folder};
pub use run::run;

/// Room in each folder backend, in bytes.
const QUOTA_BYTES: u64 = 10 << 30;

/// What `s3o standalone` is told. Port 0 takes any free one.
#[derive(Debug, Clone)]
pub struct StandaloneOptions {
    /// Where everything is kept. Made when it is not there.
    pub data: PathBuf,
    /// Backends, buckets and credentials, as in a control plane's file; what it does not declare is made up.
    pub config: Option<PathBuf>,
    /// Where S3 is spoken.
    pub s3_listen: SocketAddr,
    /// The control plane's HTTP.
    pub http_listen: SocketAddr,
    /// The control plane's gRPC.
    pub grpc_listen: SocketAddr,
    /// Written when everything serves.
    pub ready_file: Option<PathBuf>,
    /// The database, which must be a new one, is filled from the backends before anything is served.
    pub rebuild: bool,
    /// Which log lines are written, as `warn,s3o_dataplane=debug`.
    pub log_filter: String,
}

impl StandaloneOptions {
    /// The defaults, in this folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data: data.into(),
            config: None,
            s3_listen: local(9000),
            http_listen: local(9001),
            grpc_listen: local(9002),
            ready_file: None,
            rebuild: false,
            log_filter: "warn".to_owned(),
        }
    }
}
