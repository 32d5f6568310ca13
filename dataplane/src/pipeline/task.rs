//! What changes something is finished although its client, and with it the handler, may be gone: its outcome is asked for
//! until it is known.

use s3o_runtime::Shutdown;
use s3s::{S3Result, s3_error};
use tracing::Instrument as _;

use super::faults;
use crate::metrics::DataPlaneMetrics;
use crate::plane::Plane;

/// Begins at once, in a tracked task of its own. What is returned only waits: whoever drops it cuts nothing short.
pub(crate) fn to_its_end<T: Send + 'static>(
    plane: &Plane,
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = S3Result<T>> + Send {
    begin(&plane.shutdown, &plane.metrics, work)
}

fn begin<T: Send + 'static>(
    shutdown: &Shutdown,
    metrics: &DataPlaneMetrics,
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = S3Result<T>> + Send {
    let task = shutdown.spawn(work.in_current_span());
    async move {
        match task.await {
            Ok(Some(outcome)) => Ok(outcome),
            Ok(None) => Err(faults::unavailable("The service is shutting down.")),
            Err(error) => {
                metrics.panicked("write");
                tracing::error!(%error, "a write panicked");
                Err(s3_error!(InternalError))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    fn shared() -> (Shutdown, Arc<DataPlaneMetrics>) {
        (Shutdown::default(), DataPlaneMetrics::new(s3o_runtime::Metrics::new()))
    }

    #[tokio::test]
    async fn it_does_not_end_with_its_client() {
        let (shutdown, metrics) = shared();
        let ((decide, decided), (log, logged)) = (oneshot::channel::<()>(), oneshot::channel());
        let work = async move {
            let _ = decided.await;
            log.send(()).expect("the test waits for it");
        };
        let waits = begin(&shutdown, &metrics, work);
        assert!(waits.now_or_never().is_none(), "the client goes while it waits");
        decide.send(()).expect("the work goes on");
        logged.await.expect("it came to its end");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_is_counted() {
        let (shutdown, metrics) = shared();
        let error = begin::<()>(&shutdown, &metrics, async { panic!("as a test") }).await;
        assert_eq!(error.expect_err("it panicked").code().as_str(), "InternalError");
        let counted = metrics.encode();
        assert!(counted.contains("{route=\"write\"} 1"), "{counted}");
    }

    #[tokio::test]
    async fn what_the_hard_stage_drops_may_be_tried_again() {
        let (shutdown, metrics) = shared();
        let waits = begin(&shutdown, &metrics, std::future::pending::<()>());
        assert!(!shutdown.finish(Duration::ZERO).await, "it was dropped");
        assert_eq!(waits.await.expect_err("it has no outcome").code().as_str(), "ServiceUnavailable");
    }
}
