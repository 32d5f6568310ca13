//! Looks after the breaker `database`: probes when something is wrong, and when it is open.
//!
//! Invariant: one probe at a time, bounded in time; it ends with the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::plane::Plane;

/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two probes of a control plane that is connected and does not decide.
const SUSPICIOUS: Duration = Duration::from_millis(250);

/// Runs until shutdown.
pub(crate) async fn watch(plane: Arc<Plane>) {
    let database = plane.control.database();
    while !plane.shutdown.is_stopping() {
        let connected = plane.control.is_connected();
        let reachable = connected && plane.control.database_reachable();
        let mut pause = PAUSE;
        if database.is_due(reachable, Instant::now()) {
            // Without a stream there is nothing to ask: the pause of a reconnect is no outage yet.
            let worked = connected && plane.caller_for(None, "").probe(PATIENCE).await;
            database.probed(worked, Instant::now(), rand::random());
            if connected && !worked && !database.is_open() {
                pause = SUSPICIOUS;
            }
        }
        tokio::select! {
            () = plane.shutdown.stopping() => {}
            () = database.wait(pause) => {}
        }
    }
}
