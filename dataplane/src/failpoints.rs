//! Points at which a write can be made to stand still, so that tests can kill the process right there, or change what is
//! around it before it goes on. Only with the feature `failpoints`; without it every point is nothing.

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

/// Stands still when `S3O_FAILPOINT` names this point, after a line on standard error: until the file exists that
/// `S3O_FAILPOINT_UNTIL` names, or for ever.
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
        let until = std::env::var_os("S3O_FAILPOINT_UNTIL").map(std::path::PathBuf::from);
        while !until.as_ref().is_some_and(|file| file.exists()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// Nothing: the feature is off.
#[cfg(not(feature = "failpoints"))]
pub(crate) async fn pause_at(_point: Point) {}
