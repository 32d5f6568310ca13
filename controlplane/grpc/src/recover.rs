//! The end of the recovery mode.

use s3o_core::restore::{Applied, LostVersion, RestoreReport};
use s3o_proto::v1;
use tonic::Status;

use crate::status::port_failed;
use crate::wiring::Ports;

/// Why it is on; empty: it is not.
pub(crate) async fn why(ports: &Ports) -> Result<String, Status> {
    Ok(ports.recovery.recovery().await.map_err(|error| port_failed(&error))?.unwrap_or_default())
}

pub(crate) async fn recover(ports: &Ports) -> Result<v1::RecoverReply, Status> {
    if why(ports).await?.is_empty() {
        return Err(Status::failed_precondition("the recovery mode is not on"));
    }
    let report = ports.recovering.recover().await;
    report.map(to_wire).map_err(|error| Status::aborted(format!("the recovery mode is on still: {error}")))
}

fn to_wire(report: RestoreReport) -> v1::RecoverReply {
    let RestoreReport {
        files,
        records,
        snapshot: _,
        missing,
        unreadable,
        blobs,
        applied: Applied { keys: _, added, removed, copies },
        revived,
        unknown_blobs,
        unknown,
        lost,
    } = report;
    let name = |LostVersion { bucket_name, key, version }| format!("{bucket_name}/{key} {version}");
    v1::RecoverReply {
        files,
        records,
        missing_segments: missing,
        unreadable,
        blobs,
        added,
        removed,
        copies,
        revived,
        unknown_blobs,
        unknown,
        lost: lost.into_iter().map(name).collect(),
    }
}
