//! Both planes in one process, for a single machine and for trying the system: a private PostgreSQL,
//! folder backends, one bucket and its keys.
//!
//! Architecture invariant: the one crate that links both planes. They still speak over the wire, with
//! a random token, as they do apart; nothing here reaches into either.

mod folder;

pub use folder::{FolderOptions, serve_folder};
