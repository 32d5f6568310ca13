//! Keeps this process's lease, under which the workers' writes live, and reports what it used of the backends, as a
//! data plane does: in numbered reports that count once however often they are sent.

use std::sync::Arc;

use async_trait::async_trait;
use s3o_core::ports::Sessions;
use s3o_core::session::{Hello, UsageReport, VERSIONS_FEATURE};
use s3o_core::worker::Counts;
use s3o_runtime::OpenOps;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Deps;
use crate::harness::Worker;
use crate::meters::ProcessMeters;

pub(crate) struct Usage {
    sessions: Arc<dyn Sessions>,
    meters: Arc<ProcessMeters>,
    open_ops: OpenOps,
    hello: Hello,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: bool,
    number: i64,
    /// Sent, and not known to be recorded.
    pending: Option<UsageReport>,
}

impl Usage {
    pub(crate) fn new(deps: &Deps, meters: Arc<ProcessMeters>, owner: Uuid, open_ops: OpenOps) -> Self {
        let hello = Hello {
            session: owner,
            name: format!("workers of {}", deps.instance),
            version: s3o_runtime::VERSION.to_owned(),
            features: vec![VERSIONS_FEATURE.to_owned()],
        };
        Self { sessions: deps.sessions.clone(), meters, open_ops, hello, state: Mutex::default() }
    }
}

#[async_trait]
impl Worker for Usage {
    async fn tick(&self) -> Result<Counts, String> {
        let mut state = self.state.lock().await;
        let session = self.hello.session;
        if state.opened {
            let renewed = self.sessions.renew(session, self.open_ops.long_open()).await;
            // A session that was forgotten meanwhile is opened again at the next tick.
            state.opened = renewed.is_ok();
            renewed.map_err(|error| error.to_string())?;
        } else {
            self.sessions.open(self.hello.clone()).await.map_err(|error| error.to_string())?;
            state.opened = true;
        }
        if state.pending.is_none() {
            let usage = self.meters.take_usage();
            if usage.is_empty() {
                return Ok(Counts::new());
            }
            state.number += 1;
            state.pending = Some(UsageReport { number: state.number, usage });
        }
        let Some(report) = state.pending.clone() else {
            return Ok(Counts::new());
        };
        let backends = report.usage.len() as u64;
        self.sessions.add_usage(session, report).await.map_err(|error| error.to_string())?;
        state.pending = None;
        Ok(Counts::from([("backends".to_owned(), backends)]))
    }
}
