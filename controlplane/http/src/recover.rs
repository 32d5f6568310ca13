//! The end of the recovery mode, as REST.

use actix_web::{HttpResponse, web};
use s3o_proto::v1;
use serde_json::json;

use crate::admin::{Answer, asked};
use crate::edge::RequestId;
use crate::server::State;

/// Its query.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// Backends that are given up, with commas between their names.
    #[serde(default)]
    without: String,
}

/// `POST /admin/api/recover[?without=NAME[,NAME]]`.
pub(crate) async fn recover(state: web::Data<State>, wish: web::Query<Wish>, id: RequestId) -> Answer {
    let without = wish.without.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect();
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
    } = asked(admin.recover(v1::RecoverRequest { without }), &id).await?;
    Ok(HttpResponse::Ok().json(json!({
        "status": "ok", "files": files, "records": records, "missing_segments": missing_segments,
        "unreadable": unreadable, "blobs": blobs, "added": added, "removed": removed, "copies": copies,
        "revived": revived, "unknown_versions": unknown_versions, "unknown": unknown, "lost_versions": lost_versions,
        "lost": lost, "buckets_made": buckets_made, "buckets_changed": buckets_changed,
        "buckets_deleted": buckets_deleted, "buckets_kept": buckets_kept, "words": words,
    })))
}
