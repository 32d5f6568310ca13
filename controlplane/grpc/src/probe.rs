//! Backends that are asked what they can do.

use s3o_core::probe::{NotProbed, ProbeReport, ProbeStored};
use s3o_proto::v1;
use s3o_runtime::audit;
use s3o_types::{EtagProof, ProbeFinding};
use tonic::{Code, Status};

use crate::status::{about_field, bad_request};
use crate::wiring::Ports;

pub(crate) async fn probe(
    ports: &Ports,
    request: v1::ProbeBackendRequest,
) -> Result<v1::ProbeBackendReply, Status> {
    let v1::ProbeBackendRequest { name, store } = request;
    if name.is_empty() {
        return Err(bad_request("name", "is empty"));
    }
    let report = ports.probing.probe_backend(&name, store).await.map_err(|why| refused(&name, why))?;
    audit!("backend.probe", backend = %name, store, requests = report.requests);
    Ok(to_wire(report))
}

fn refused(name: &str, why: NotProbed) -> Status {
    match why {
        NotProbed::Unknown => about_field(Code::NotFound, "name", &format!("there is no backend `{name}`")),
        NotProbed::Refused(why) => Status::failed_precondition(why),
    }
}

fn to_wire(report: ProbeReport) -> v1::ProbeBackendReply {
    let ProbeReport { findings, etag, requests, left, stored } = report;
    let (stored, not_stored) = match stored {
        ProbeStored::NotAsked => (false, String::new()),
        ProbeStored::Stored => (true, String::new()),
        ProbeStored::NotStored(why) => (false, why),
    };
    v1::ProbeBackendReply {
        findings: findings.into_iter().map(finding).collect(),
        etag: etag.map(word).unwrap_or_default().to_owned(),
        requests,
        left,
        stored,
        not_stored,
    }
}

fn finding(finding: ProbeFinding) -> v1::ProbeFinding {
    let ProbeFinding { name, verdict, detail, setting } = finding;
    let setting = setting.unwrap_or_default();
    v1::ProbeFinding { name: name.to_owned(), verdict: verdict.as_str().to_owned(), detail, setting }
}

/// As YAML has it.
const fn word(proof: EtagProof) -> &'static str {
    match proof {
        EtagProof::Unknown => "unknown",
        EtagProof::Md5 => "md5",
        EtagProof::Md5Trailer => "md5_trailer",
        EtagProof::Opaque => "opaque",
    }
}
