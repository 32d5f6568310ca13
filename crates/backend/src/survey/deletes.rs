//! Deletions, and whether they only hide.

use bytes::Bytes;
use s3o_types::ProbeFinding;

use super::asker::Asker;
use super::finding::failed;
use crate::client::PutDone;
use crate::error::BackendErrorKind;

const DELETE: &str = "delete";
const DELETE_ABSENT: &str = "delete_absent";
const VERSIONS: &str = "versions";
const NAME: &str = "gone";

pub(super) async fn find(asker: &mut Asker<'_>) -> Vec<ProbeFinding> {
    let put = match asker.put(NAME, Vec::new(), Bytes::from_static(b"gone")).await {
        Ok(put) => put,
        Err(error) => return vec![ProbeFinding::unknown(DELETE, error.to_string())],
    };
    let mut findings = vec![delete(asker, &put).await];
    // There it would leave a delete marker.
    if put.version_id.is_none() {
        findings.push(absent(asker).await);
    }
    findings.push(versions(&put));
    findings
}

async fn delete(asker: &mut Asker<'_>, put: &PutDone) -> ProbeFinding {
    let meaning = "what clients delete stays there";
    if let Err(error) = asker.delete(NAME, put.version_id.as_deref()).await {
        return failed(DELETE, &error, meaning);
    }
    match asker.head(NAME).await {
        Ok(_) => ProbeFinding::unsupported(DELETE, format!("what was deleted is there still; {meaning}")),
        Err(error) if error.kind == BackendErrorKind::NotFound => {
            ProbeFinding::ok(DELETE, "what is deleted is gone at once")
        }
        Err(error) => ProbeFinding::unknown(DELETE, error.to_string()),
    }
}

async fn absent(asker: &mut Asker<'_>) -> ProbeFinding {
    match asker.delete("absent", None).await {
        Ok(_) => ProbeFinding::ok(DELETE_ABSENT, "a DELETE of what is not there is no error"),
        Err(error) => {
            let meaning = "deletions that are repeated end among the dead letters";
            failed(DELETE_ABSENT, &error, meaning)
        }
    }
}

fn versions(put: &PutDone) -> ProbeFinding {
    if put.version_id.is_none() {
        return ProbeFinding::ok(VERSIONS, "its answers name no versions");
    }
    let detail = "its bucket keeps versions: each DELETE names the version that its PUT was told. Where an answer was lost, \
                  what is deleted is only hidden: let a rule of the bucket there expire noncurrent versions and delete markers";
    ProbeFinding::ok(VERSIONS, detail)
}
