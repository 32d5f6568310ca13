//! Copies that are moved on demand.

use std::pin::Pin;
use std::sync::Arc;

use s3o_core::ports::Rebalancing;
use s3o_core::rebalance::{Move, RebalanceTotals, RebalanceWish};
use s3o_proto::v1;
use s3o_runtime::Shutdown;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use crate::status::bad_request;

/// What is moved, as it is moved.
pub(crate) type Progress = Pin<Box<dyn Stream<Item = Result<v1::RebalanceProgress, Status>> + Send>>;

pub(crate) fn run(
    rebalancing: Arc<dyn Rebalancing>,
    request: v1::RebalanceRequest,
    shutdown: &Shutdown,
) -> Result<Progress, Status> {
    let wish = wish(rebalancing.usual(), request)?;
    // A message for each copy of one batch.
    let (tell, told) = mpsc::unbounded_channel();
    let each = tell.clone();
    shutdown.spawn(async move {
        let each = Box::new(move |copy: Move, totals: RebalanceTotals| {
            // Nobody may listen any more.
            drop(each.send(Ok(progress(Some(copy), totals))));
        });
        let last = match rebalancing.rebalance(wish, each).await {
            Ok(totals) => Ok(progress(None, totals)),
            Err(why) => Err(Status::failed_precondition(why)),
        };
        drop(tell.send(last));
    });
    Ok(Box::pin(UnboundedReceiverStream::new(told)))
}

fn wish(usual: RebalanceWish, request: v1::RebalanceRequest) -> Result<RebalanceWish, Status> {
    let v1::RebalanceRequest { dry_run, strategy, threshold_percent, batch } = request;
    let strategy = match strategy.as_str() {
        "" => usual.strategy,
        word => word.parse().map_err(|why: String| bad_request("strategy", &why))?,
    };
    let threshold_percent = match threshold_percent.map(u8::try_from) {
        None => usual.threshold_percent,
        Some(Ok(percent)) if percent <= 100 => percent,
        Some(_) => return Err(bad_request("threshold_percent", "is not within 0 to 100")),
    };
    Ok(RebalanceWish { strategy, threshold_percent, batch: batch.unwrap_or(usual.batch), dry_run })
}

fn progress(copy: Option<Move>, totals: RebalanceTotals) -> v1::RebalanceProgress {
    let RebalanceTotals { planned_bytes, moved, moved_bytes, failed } = totals;
    let api_calls = totals.api_calls();
    v1::RebalanceProgress { copy: copy.map(moved_copy), planned_bytes, moved, moved_bytes, failed, api_calls }
}

fn moved_copy(copy: Move) -> v1::MovedCopy {
    let Move { bucket, key, from, to, size, result } = copy;
    let why = result.and_then(Result::err).unwrap_or_default();
    v1::MovedCopy { bucket, key, from, to, size, why }
}
