//! Backends that are asked what they can do, as REST.

use actix_web::{HttpResponse, web};
use s3o_proto::v1;
use serde::{Deserialize, Serialize};

use crate::admin::Answer;
use crate::edge::RequestId;
use crate::failure::Failure;
use crate::server::State;

/// What is to become of what is found.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    #[serde(default)]
    store: bool,
}

#[derive(Serialize)]
struct Probe {
    findings: Vec<Finding>,
    /// Empty: it could not be seen.
    etag: String,
    requests: u64,
    left: Vec<String>,
    stored: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    not_stored: String,
}

#[derive(Serialize)]
struct Finding {
    name: String,
    verdict: String,
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    setting: String,
}

impl From<v1::ProbeBackendReply> for Probe {
    fn from(reply: v1::ProbeBackendReply) -> Self {
        let v1::ProbeBackendReply { findings, etag, requests, left, stored, not_stored } = reply;
        let findings = findings.into_iter().map(Finding::from).collect();
        Self { findings, etag, requests, left, stored, not_stored }
    }
}

impl From<v1::ProbeFinding> for Finding {
    fn from(finding: v1::ProbeFinding) -> Self {
        let v1::ProbeFinding { name, verdict, detail, setting } = finding;
        Self { name, verdict, detail, setting }
    }
}

/// `POST /admin/api/backends/{name}/probe[?store=true]`. A slow backend takes longer than other questions may: a probe
/// limits its requests itself.
pub(crate) async fn probe(
    state: web::Data<State>,
    id: RequestId,
    name: web::Path<String>,
    query: web::Query<Wish>,
) -> Answer {
    let mut admin = state.deps.admin.clone();
    let Wish { store } = query.into_inner();
    let request = v1::ProbeBackendRequest { name: name.into_inner(), store };
    let reply = admin.probe_backend(request).await.map_err(|status| Failure::of_status(&status, &id))?;
    Ok(HttpResponse::Ok().json(Probe::from(reply.into_inner())))
}
