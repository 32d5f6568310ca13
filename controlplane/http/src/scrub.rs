//! An object's copies, read on demand, as REST: a line of JSON for each, as it is read.

use actix_web::web;
use s3o_proto::v1;
use serde::{Deserialize, Serialize};

use crate::admin::{Answer, asked};
use crate::edge::RequestId;
use crate::lines::lines;
use crate::server::State;

/// What is read.
#[derive(Deserialize)]
pub(crate) struct Object {
    bucket: String,
    key: String,
    #[serde(default)]
    version_id: String,
}

#[derive(Serialize)]
struct Copy {
    version: String,
    extent: u32,
    backend: String,
    storage_key: String,
    size: u64,
    verdict: String,
    why: String,
}

impl From<v1::ScrubbedCopy> for Copy {
    fn from(copy: v1::ScrubbedCopy) -> Self {
        let v1::ScrubbedCopy { version, extent, backend, storage_key, size, verdict, why } = copy;
        Self { version, extent, backend, storage_key, size, verdict, why }
    }
}

/// `POST /admin/api/scrub?bucket=&key=[&version_id=]`: `application/x-ndjson`, a copy a line; where it is broken off, the
/// last line is an `error`.
pub(crate) async fn object(state: web::Data<State>, id: RequestId, query: web::Query<Object>) -> Answer {
    let mut admin = state.deps.admin.clone();
    let Object { bucket, key, version_id } = query.into_inner();
    let request = v1::ScrubObjectRequest { bucket, key, version_id };
    let copies = asked(admin.scrub_object(request), &id).await?;
    Ok(lines::<_, Copy>(copies))
}
