//! A worker's tick on demand, as the admin service tells of it.
//!
//! Invariant: whoever follows a tick only looks. One that goes away leaves it running.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use s3o_core::ports::{Overview, WorkerControl};
use s3o_core::worker::Counts;
use s3o_proto::v1;
use tokio_stream::Stream;
use tonic::{Code, Status};

use crate::status::{about_field, bad_request};
use crate::wiring::Ports;

/// Between two reports.
const EVERY: Duration = Duration::from_millis(500);

/// What waits for the worker, until its tick has ended.
pub(crate) type Progress = Pin<Box<dyn Stream<Item = Result<v1::WorkerProgress, Status>> + Send>>;

type Tick = Pin<Box<dyn Future<Output = Result<Counts, Option<String>>> + Send>>;

struct Followed {
    tick: Tick,
    name: String,
    overview: Arc<dyn Overview>,
    has_begun: bool,
}

/// Begins a tick of the named worker and follows it.
pub(crate) fn run(ports: &Ports, name: String) -> Result<Progress, Status> {
    if name.is_empty() {
        return Err(bad_request("name", "is empty"));
    }
    let names = ports.workers.names();
    if !names.contains(&name.as_str()) {
        return Err(unknown(&name, &names));
    }
    let (workers, of): (Arc<dyn WorkerControl>, _) = (Arc::clone(&ports.workers), name.clone());
    let tick: Tick = Box::pin(async move { workers.run(&of).await });
    let followed = Followed { tick, name, overview: Arc::clone(&ports.overview), has_begun: false };
    Ok(Box::pin(futures::stream::unfold(Some(followed), |followed| async { Some(followed?.next().await) })))
}

fn unknown(name: &str, known: &[&str]) -> Status {
    let message = format!("there is no worker `{name}`, only {}", known.join(", "));
    about_field(Code::NotFound, "name", &message)
}

impl Followed {
    /// What waits, before the tick begins and then from time to time; or how it ended, which is the last report. Where it cannot be
    /// counted what waits, the tick goes on all the same: only its own end says how it went.
    async fn next(mut self) -> (Result<v1::WorkerProgress, Status>, Option<Self>) {
        if std::mem::replace(&mut self.has_begun, true) {
            tokio::select! {
                ended = &mut self.tick => return (self.ended(ended), None),
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        let waiting = self.overview.waiting(&self.name).await.unwrap_or_default();
        (Ok(v1::WorkerProgress { waiting, done: None }), Some(self))
    }

    fn ended(&self, ended: Result<Counts, Option<String>>) -> Result<v1::WorkerProgress, Status> {
        let failed = |why: Option<String>| {
            let why = why.unwrap_or_else(|| "it is not there any more".to_owned());
            Status::internal(format!("the tick of {} failed: {why}", self.name))
        };
        let counts = ended.map_err(failed)?.into_iter().collect();
        Ok(v1::WorkerProgress { waiting: None, done: Some(v1::WorkerCounts { counts }) })
    }
}
