//! The workers against ports in memory and S3 backends that fail on purpose. One module a worker.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as tests do")]

mod copies;
mod fake_journal;
mod fakes;
mod reconcile;
mod worker_cleanup_queue;
mod worker_copy_scan;
mod worker_journal;
mod worker_lifecycle;
mod worker_marker;
mod worker_over_replication;
mod worker_pending_reaper;
mod worker_quota_audit;
mod worker_rebalancer;
mod worker_reconciler;
mod worker_reconciler_import;
mod worker_removal;
mod worker_replicator;
mod worker_restore;
mod worker_runs;
mod worker_scrubber;
mod worker_stale_multipart;
