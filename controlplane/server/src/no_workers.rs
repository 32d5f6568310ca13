//! The workers of a replica that runs none.

use s3o_core::call::Refusal;
use s3o_core::config::Routing;
use s3o_core::ports::{BackendProbing, ObjectScrub, Rebalancing, Recovering, WorkerControl};
use s3o_core::probe::{NotProbed, ProbeReport};
use s3o_core::rebalance::{Move, RebalanceTotals, RebalanceWish};
use s3o_core::restore::RestoreReport;
use s3o_core::scrub::{ScrubObject, ScrubbedCopy};
use s3o_core::worker::Counts;
use s3o_types::ErrorCode;

const NONE: &str = "this replica runs no workers (workers.enabled: false)";

/// Knows no worker.
pub(crate) struct NoWorkers;

#[async_trait::async_trait]
impl WorkerControl for NoWorkers {
    async fn run(&self, _: &str) -> Result<Counts, Option<String>> {
        Err(Some(NONE.to_owned()))
    }

    fn names(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

#[async_trait::async_trait]
impl ObjectScrub for NoWorkers {
    async fn scrub_object(
        &self,
        _: ScrubObject,
        _: Box<dyn FnMut(ScrubbedCopy) + Send>,
    ) -> Result<(), Refusal> {
        Err(Refusal::new(ErrorCode::ServiceUnavailable, NONE))
    }
}

#[async_trait::async_trait]
impl Recovering for NoWorkers {
    async fn recover(&self, _: Vec<String>) -> Result<RestoreReport, String> {
        Err(NONE.to_owned())
    }
}

#[async_trait::async_trait]
impl BackendProbing for NoWorkers {
    async fn probe_backend(&self, _: &str, _: bool) -> Result<ProbeReport, NotProbed> {
        Err(NotProbed::Refused(NONE.to_owned()))
    }
}

#[async_trait::async_trait]
impl Rebalancing for NoWorkers {
    async fn rebalance(
        &self,
        _: RebalanceWish,
        _: Box<dyn FnMut(Move, RebalanceTotals) + Send>,
    ) -> Result<RebalanceTotals, String> {
        Err(NONE.to_owned())
    }

    fn usual(&self) -> RebalanceWish {
        RebalanceWish { strategy: Routing::default(), threshold_percent: 0, batch: 0, dry_run: true }
    }
}
