//! The ledger, the queues and the rest of the SQL against a PostgreSQL of their own. One module a concern.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as tests do")]

mod buckets;
mod copies;
mod copy_races;
mod costs;
mod drains;
mod journal;
mod ledger_calls;
mod ledger_races;
mod lifecycle;
mod limits;
mod listing;
mod lock;
mod places;
mod ports;
mod queues;
mod quota_audit;
mod reconcile;
mod recover;
mod removals;
mod restore_buckets;
mod restore_runs;
mod scrubs;
mod support;
mod tags;
mod tls;
mod unreadable;
mod uploads;
mod versions;
mod versions_listing;
