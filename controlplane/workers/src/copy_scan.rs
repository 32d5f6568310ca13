//! Finds versions whose copies are not what is wanted any more, where something changed for many at once: a factor, a
//! backend that is drained, was lost or came back. And lets go of backends on which nothing is left.
//!
//! Invariant: a page at a time, and none while enough versions wait: the queue stays short however many there are.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::metrics::gauge::Gauge;
use s3o_core::ports::{Drains, Replication};
use s3o_core::usage::signed;
use s3o_core::worker::Counts;
use s3o_runtime::Shutdown;
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::Worker;
use crate::standing::Observer;

pub(crate) struct CopyScan {
    replication: Arc<dyn Replication>,
    drains: Arc<dyn Drains>,
    observer: Observer,
    shutdown: Shutdown,
    active: Gauge,
}

impl CopyScan {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        let active = Gauge::default();
        deps.metrics.register("drain_active", "Count of in-flight backend drain operations", active.clone());
        Self {
            replication: deps.replication.clone(),
            drains: deps.drains.clone(),
            observer: Observer::new(deps, backends, owner),
            shutdown: deps.shutdown.clone(),
            active,
        }
    }
}

#[async_trait]
impl Worker for CopyScan {
    async fn tick(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        while !self.shutdown.is_stopping() {
            // Before each page: with a list of before, a long scan would undo what other replicas have found out since.
            let unhealthy = self.observer.unhealthy().await?;
            let step = self.replication.scan(&unhealthy).await.map_err(|error| error.to_string())?;
            let Some(step) = step else { break };
            for (what, n) in step {
                *counts.entry(what).or_default() += n;
            }
        }
        let retired = self.drains.retire().await.map_err(|error| error.to_string())?;
        if retired > 0 {
            counts.insert("retired".to_owned(), retired);
        }
        let drains = self.drains.drains().await.map_err(|error| error.to_string())?;
        self.active.set(signed(drains.iter().filter(|drain| !drain.done).count() as u64));
        Ok(counts)
    }
}
