//! A backend that is asked what it can do.

use async_trait::async_trait;
use s3o_core::ports::BackendProbing;
use s3o_core::probe::{NotProbed, ProbeReport, ProbeStored};
use s3o_proto::v1;
use s3o_types::{EtagProof, ProbeFinding, ProbeVerdict};
use tonic::Code;

use super::Plane;
use super::admin::admin;
use super::fakes::Fakes;
use crate::status::fields;

#[async_trait]
impl BackendProbing for Fakes {
    async fn probe_backend(&self, name: &str, store: bool) -> Result<ProbeReport, NotProbed> {
        match name {
            "b3" => {}
            "busy" => return Err(NotProbed::Refused("busy is being reconfigured".into())),
            _ => return Err(NotProbed::Unknown),
        }
        let finding = |name, verdict, setting| ProbeFinding { name, verdict, detail: "so".into(), setting };
        Ok(ProbeReport {
            findings: vec![
                finding("range", ProbeVerdict::Ok, None),
                finding("path_style", ProbeVerdict::Needs, Some("path_style: false".into())),
            ],
            etag: (!store).then_some(EtagProof::Md5Trailer),
            requests: 40,
            left: vec![".s3o/probe/x".into()],
            stored: if store { ProbeStored::NotStored("unseen".into()) } else { ProbeStored::NotAsked },
        })
    }
}

fn request(name: &str, store: bool) -> v1::ProbeBackendRequest {
    v1::ProbeBackendRequest { name: name.into(), store }
}

#[tokio::test]
async fn what_is_found_is_told() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    let reply = admin.probe_backend(request("b3", false)).await.unwrap().into_inner();
    let finding = |name: &str, verdict: &str, setting: &str| v1::ProbeFinding {
        name: name.into(),
        verdict: verdict.into(),
        detail: "so".into(),
        setting: setting.into(),
    };
    let expected = v1::ProbeBackendReply {
        findings: vec![finding("range", "ok", ""), finding("path_style", "needs", "path_style: false")],
        etag: "md5_trailer".into(),
        requests: 40,
        left: vec![".s3o/probe/x".into()],
        stored: false,
        not_stored: String::new(),
    };
    assert_eq!(reply, expected);
    let reply = admin.probe_backend(request("b3", true)).await.unwrap().into_inner();
    assert_eq!((reply.etag.as_str(), reply.stored, reply.not_stored.as_str()), ("", false, "unseen"));
}

#[tokio::test]
async fn who_cannot_be_asked_is_refused_with_the_reason() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    for (name, code) in [("nobody", Code::NotFound), ("", Code::InvalidArgument)] {
        let refused = admin.probe_backend(request(name, false)).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (code, vec!["name".to_owned()]), "{name}");
    }
    let refused = admin.probe_backend(request("busy", false)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "busy is being reconfigured"));
}
