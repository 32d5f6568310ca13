//! What the control plane decides, without doing any of it: placement, quota arithmetic, the outcome
//! of every call, and the ports through which the rest of the control plane is reached.
//!
//! Architecture invariant: no I/O, no clock, no randomness, no SQL and no wire types. The time, the
//! sequence numbers and the random bits that a decision needs are handed in as facts, so that every
//! rule of the write path can be tested as a function.
//!
//! To add a call: its request and outcome in `call.rs` and its folder, its rule as a file in `decide/`, its facts and
//! effects in `facts.rs` and `effects.rs`; then the store reads those facts and writes those effects.

pub mod bucket;
pub mod call;
pub mod cleanup;
pub mod config;
pub mod decide;
pub mod effects;
pub mod facts;
pub mod intent;
pub mod journal;
pub mod lifecycle;
pub mod listing;
pub mod object;
pub mod outcome_log;
pub mod placement;
pub mod ports;
pub mod probe;
pub mod rebalance;
pub mod reconcile;
pub mod removal;
pub mod replication;
pub mod restore;
pub mod scrub;
pub mod session;
pub mod upload;
pub mod usage;
pub mod versions;
pub mod worker;
