//! Backends that are emptied, as the admin service tells of them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use s3o_core::ports::Drains;
use s3o_core::replication::Drain;
use s3o_proto::v1;
use s3o_runtime::Shutdown;
use tokio_stream::Stream;
use tonic::{Code, Status};

use crate::status::{about_field, port_failed};

/// Between two reports.
const EVERY: Duration = Duration::from_secs(1);

/// How far a drain is, until it is done.
pub(crate) type Progress = Pin<Box<dyn Stream<Item = Result<v1::DrainProgress, Status>> + Send>>;

fn unknown(name: &str, what: &str) -> Status {
    about_field(Code::NotFound, "name", &format!("there is no {what} `{name}`"))
}

/// Begins a drain and follows it.
pub(crate) async fn drain(
    drains: Arc<dyn Drains>,
    name: String,
    shutdown: Shutdown,
) -> Result<Progress, Status> {
    if !drains.drain(&name).await.map_err(|error| port_failed(&error))? {
        return Err(unknown(&name, "backend"));
    }
    Ok(follow(drains, name, shutdown))
}

/// Says how far a drain is, until nothing is left.
pub(crate) fn follow(drains: Arc<dyn Drains>, name: String, shutdown: Shutdown) -> Progress {
    let state = (drains, name, shutdown, Following::First);
    Box::pin(futures::stream::unfold(state, |(drains, name, shutdown, following)| async move {
        let wait = match following {
            Following::First => Duration::ZERO,
            Following::On => EVERY,
            Following::Over => return None,
        };
        tokio::select! {
            () = shutdown.stopping() => return None,
            () = tokio::time::sleep(wait) => {}
        }
        let report = one(&*drains, &name).await;
        let over = report.as_ref().map_or(true, |drain| drain.done);
        let next = if over { Following::Over } else { Following::On };
        Some((report, (drains, name, shutdown, next)))
    }))
}

enum Following {
    First,
    On,
    Over,
}

/// One that was taken back, or whose backend is gone, is no drain any more.
async fn one(drains: &dyn Drains, name: &str) -> Result<v1::DrainProgress, Status> {
    let all = list(drains).await?;
    all.into_iter().find(|drain| drain.name == name).ok_or_else(|| unknown(name, "drain of backend"))
}

pub(crate) async fn undrain(drains: &dyn Drains, name: &str) -> Result<(), Status> {
    let undone = drains.undrain(name).await.map_err(|error| port_failed(&error))?;
    if undone { Ok(()) } else { Err(unknown(name, "drain that was asked for, of backend")) }
}

pub(crate) async fn list(drains: &dyn Drains) -> Result<Vec<v1::DrainProgress>, Status> {
    let drains = drains.drains().await.map_err(|error| port_failed(&error))?;
    Ok(drains.into_iter().map(to_wire).collect())
}

fn to_wire(drain: Drain) -> v1::DrainProgress {
    let Drain { backend: _, name, asked, objects, bytes, other_bytes, waiting, done, removal } = drain;
    let removal = removal.map(|removal| removal.mode.as_str()).unwrap_or_default().to_owned();
    v1::DrainProgress { name, asked, objects, bytes, other_bytes, waiting, done, removal }
}
