//! Copies that are moved on demand, as REST: a line of JSON for each, and one for the whole.

use actix_web::web;
use s3o_proto::v1;
use serde::{Deserialize, Serialize};

use crate::admin::{Answer, asked};
use crate::edge::RequestId;
use crate::lines::lines;
use crate::server::State;

/// How it is to go; what is absent is as configured.
#[derive(Deserialize)]
pub(crate) struct Wish {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    strategy: String,
    threshold_percent: Option<u32>,
    batch: Option<u32>,
}

#[derive(Serialize)]
struct Progress {
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<Moved>,
    planned_bytes: u64,
    moved: u64,
    moved_bytes: u64,
    failed: u64,
    api_calls: u64,
}

#[derive(Serialize)]
struct Moved {
    bucket: String,
    key: String,
    from: String,
    to: String,
    size: u64,
    why: String,
}

impl From<v1::RebalanceProgress> for Progress {
    fn from(progress: v1::RebalanceProgress) -> Self {
        let v1::RebalanceProgress { copy, planned_bytes, moved, moved_bytes, failed, api_calls } = progress;
        Self { copy: copy.map(Moved::from), planned_bytes, moved, moved_bytes, failed, api_calls }
    }
}

impl From<v1::MovedCopy> for Moved {
    fn from(copy: v1::MovedCopy) -> Self {
        let v1::MovedCopy { bucket, key, from, to, size, why } = copy;
        Self { bucket, key, from, to, size, why }
    }
}

/// `POST /admin/api/rebalance[?dry_run=&strategy=&threshold_percent=&batch=]`: `application/x-ndjson`.
pub(crate) async fn run(state: web::Data<State>, id: RequestId, query: web::Query<Wish>) -> Answer {
    let mut admin = state.deps.admin.clone();
    let Wish { dry_run, strategy, threshold_percent, batch } = query.into_inner();
    let request = v1::RebalanceRequest { dry_run, strategy, threshold_percent, batch };
    let progress = asked(admin.rebalance(request), &id).await?;
    Ok(lines::<_, Progress>(progress))
}
