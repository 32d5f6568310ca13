//! Points at which a write can be made to stand still for ever, so that tests can kill the process
//! right there. Only with the feature `failpoints`; without it every point is nothing.

/// Where a write can stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// The intent is recorded, no byte sent.
    AfterBegin,
    /// Some of the body is sent.
    DuringStream,
    /// The backend has the blob, the metadata does not know.
    AfterBackendPut,
    /// Committed, the client has not heard.
    AfterCommit,
}

/// Stands still for ever when `S3O_FAILPOINT` names this point, after a line on standard error.
#[cfg(feature = "failpoints")]
pub(crate) async fn pause_at(point: Point) {
    use std::sync::OnceLock;
    static CHOSEN: OnceLock<Option<Point>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| match std::env::var("S3O_FAILPOINT").as_deref() {
        Ok("after_begin") => Some(Point::AfterBegin),
        Ok("during_stream") => Some(Point::DuringStream),
        Ok("after_backend_put") => Some(Point::AfterBackendPut),
        Ok("after_commit") => Some(Point::AfterCommit),
        _ => None,
    });
    if *chosen == Some(point) {
        eprintln!("S3O_FAILPOINT reached {point:?}");
        std::future::pending::<()>().await;
    }
}

/// Nothing: the feature is off.
#[cfg(not(feature = "failpoints"))]
pub(crate) async fn pause_at(_point: Point) {}
