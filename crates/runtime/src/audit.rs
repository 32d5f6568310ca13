//! Audit events: log lines with `"audit": true` that no level filter hides, and their counter.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Labels of `s3o_audit_events_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabel {
    event: &'static str,
}

static EVENTS: LazyLock<Family<EventLabel, Counter>> = LazyLock::new(Family::default);

pub(crate) fn counter() -> &'static Family<EventLabel, Counter> {
    &EVENTS
}

/// Counts an event; [`crate::audit!`] does it.
pub fn count(event: &'static str) {
    EVENTS.get_or_create(&EventLabel { event }).inc();
}

/// Emits an audit event: `audit!("s3.PutObject", request_id = %id, bucket, status = 200)`. The name
/// is a literal, as in the monitoring reference; it is the line's `msg` and the counter's label.
#[macro_export]
macro_rules! audit {
    ($event:literal $(, $($fields:tt)+)?) => {{
        $crate::audit::count($event);
        $crate::__tracing::info!(target: "audit", audit = true, $($($fields)+,)? $event);
    }};
}
