//! The end of the recovery mode, as REST.

use actix_web::{HttpResponse, web};
use s3o_proto::v1;
use serde_json::json;

use crate::admin::{Answer, asked};
use crate::edge::RequestId;
use crate::server::State;

/// `POST /admin/api/recover`.
pub(crate) async fn recover(state: web::Data<State>, id: RequestId) -> Answer {
    let mut admin = state.deps.admin.clone();
    let v1::RecoverReply {
        files,
        records,
        missing_segments,
        unreadable,
        blobs,
        added,
        removed,
        copies,
        revived,
        unknown_versions,
        unknown,
        lost,
        lost_versions,
        buckets_made,
        buckets_changed,
        buckets_deleted,
        buckets_kept,
        words,
    } = asked(admin.recover(v1::RecoverRequest {}), &id).await?;
    Ok(HttpResponse::Ok().json(json!({
        "status": "ok", "files": files, "records": records, "missing_segments": missing_segments,
        "unreadable": unreadable, "blobs": blobs, "added": added, "removed": removed, "copies": copies,
        "revived": revived, "unknown_versions": unknown_versions, "unknown": unknown, "lost_versions": lost_versions,
        "lost": lost, "buckets_made": buckets_made, "buckets_changed": buckets_changed,
        "buckets_deleted": buckets_deleted, "buckets_kept": buckets_kept, "words": words,
    })))
}
