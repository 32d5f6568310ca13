//! Group commit: calls are decided in batches, each in one transaction.

use async_trait::async_trait;
use s3o_core::call::{Outcome, Refusal, Request};
use s3o_core::cleanup::CleanupTimes;
use s3o_core::listing::{ListQuery, Page};
use s3o_core::object::{Locate, Located};
use s3o_core::ports::Ledger;
use s3o_types::ErrorCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Store;
use crate::connection::Connector;
use crate::slots::Slots;
use crate::stats::LaneStats;

pub(crate) struct Lanes {}

impl Lanes {
    pub(crate) fn start(
        _connector: &Connector,
        _lanes: u16,
        _slots: Slots,
        _times: CleanupTimes,
        _tasks: &TaskTracker,
        _stop: &CancellationToken,
    ) -> Self {
        Self {}
    }

    pub(crate) fn stats(&self) -> Vec<LaneStats> {
        Vec::new()
    }
}

fn busy() -> Refusal {
    Refusal::new(ErrorCode::ServiceUnavailable, "the database is not available")
}

#[async_trait]
impl Ledger for Store {
    async fn submit(&self, _request: Request) -> Outcome {
        Outcome::Refused(busy())
    }
    async fn locate(&self, _query: Locate) -> Result<Option<Located>, Refusal> {
        Err(busy())
    }
    async fn list(&self, _query: ListQuery) -> Result<Page, Refusal> {
        Err(busy())
    }
}
