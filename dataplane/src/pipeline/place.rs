//! Where a blob may be sent: only to a backend that this process's configuration has at the target's place.
//!
//! Invariant: nothing goes to an endpoint or bucket that the operator has edited away from, as far as the
//! control plane knew when it chose the target. What it learns later, Commit decides.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use s3o_backend::{Backend, BackendError, BackendErrorKind, Certainty};

use crate::control::Target;
use crate::plane::Plane;

/// How long a write waits for a configuration that is on its way: a replica looks for it every second.
const PATIENCE: Duration = Duration::from_secs(2);

/// The target's backend, at the target's place. Waits for the configuration that has it, briefly.
pub(super) async fn backend_of(plane: &Plane, target: &Target) -> Result<Arc<Backend>, BackendError> {
    // Subscribed before the first look, so that no change falls between.
    let mut configured = plane.configured.subscribe();
    let come = async {
        loop {
            match look(plane, target) {
                Look::Here(backend) => return Ok(backend),
                Look::Past => return Err("has moved since the target was chosen"),
                Look::NotYet => {}
            }
            // The sender lives as long as the plane.
            let _ = configured.changed().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, come).await;
    waited.unwrap_or(Err("is not known here at the target's place")).map_err(|why| {
        let message = format!("backend {} {why}", target.backend.0);
        BackendError::new(BackendErrorKind::Connection, Certainty::NotSent, message)
    })
}

/// Whether a target's backend began to be emptied after it was chosen. Another one spares the drain a move; where there is
/// none, the write goes on: its commit stands, and the drain moves it.
pub(super) fn is_drained_since(plane: &Plane, target: &Target, chosen: Instant) -> bool {
    plane.snapshot.load().drains_since(target.backend, chosen)
}

enum Look {
    Here(Arc<Backend>),
    /// This configuration is older than the target.
    NotYet,
    /// The target is older than this configuration.
    Past,
}

fn look(plane: &Plane, target: &Target) -> Look {
    let Some(backend) = plane.backends.get(target.backend) else { return Look::NotYet };
    match backend.spec().place.cmp(&target.place) {
        Ordering::Equal => Look::Here(backend),
        Ordering::Less => Look::NotYet,
        Ordering::Greater => Look::Past,
    }
}
