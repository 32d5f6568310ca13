//! The workers of a replica that runs none.

use s3o_core::ports::WorkerControl;
use s3o_core::worker::Counts;

/// Knows no worker.
pub(crate) struct NoWorkers;

#[async_trait::async_trait]
impl WorkerControl for NoWorkers {
    async fn run(&self, _: &str) -> Result<Counts, Option<String>> {
        Err(Some("this replica runs no workers (workers.enabled: false)".to_owned()))
    }

    fn names(&self) -> Vec<&'static str> {
        Vec::new()
    }
}
