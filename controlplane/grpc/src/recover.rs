//! The end of the recovery mode.

use s3o_core::restore::{Applied, LostVersions, MergedBuckets, RestoreReport};
use s3o_proto::v1;
use tonic::Status;

use crate::status::port_failed;
use crate::wiring::Ports;

/// Why it is on; empty: it is not.
pub(crate) async fn why(ports: &Ports) -> Result<String, Status> {
    Ok(ports.recovery.recovery().await.map_err(|error| port_failed(&error))?.unwrap_or_default())
}

pub(crate) async fn recover(ports: &Ports, request: v1::RecoverRequest) -> Result<v1::RecoverReply, Status> {
    let v1::RecoverRequest { without } = request;
    if why(ports).await?.is_empty() {
        return Err(Status::failed_precondition("the recovery mode is not on"));
    }
    let report = ports.recovering.recover(without).await;
    report.map(to_wire).map_err(|error| Status::aborted(format!("the recovery mode is on still: {error}")))
}

fn to_wire(report: RestoreReport) -> v1::RecoverReply {
    let words = report.lines();
    let RestoreReport {
        files,
        records,
        snapshot: _,
        missing,
        unreadable,
        blobs,
        applied: Applied { keys: _, added, removed, copies },
        buckets: MergedBuckets { made, changed, deleted, kept },
        revived,
        unknown_versions,
        unknown,
        lost: LostVersions { count, first },
    } = report;
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
        unknown_versions,
        unknown,
        lost: first.iter().map(ToString::to_string).collect(),
        lost_versions: count,
        buckets_made: made,
        buckets_changed: changed,
        buckets_deleted: deleted,
        buckets_kept: kept,
        words,
    }
}

#[cfg(test)]
mod tests {
    use s3o_core::restore::LostVersion;
    use s3o_types::VersionId;

    use super::*;

    #[test]
    fn what_is_told_by_numbers_is_told_in_words() {
        let version = VersionId::mint(1, 1);
        let lost = LostVersion { bucket_name: "photos".to_owned(), key: "k".to_owned(), version };
        let kept = vec!["full: it was deleted, and it has objects".to_owned()];
        let report = RestoreReport {
            lost: LostVersions { count: 700, first: vec![lost] },
            buckets: MergedBuckets { made: 1, changed: 2, deleted: 3, kept },
            ..RestoreReport::default()
        };
        let reply = to_wire(report.clone());
        assert_eq!(reply.words, report.lines());
        assert_eq!((reply.lost_versions, reply.lost), (700, vec![format!("photos/k {version}")]));
        assert_eq!((reply.buckets_made, reply.buckets_changed, reply.buckets_deleted), (1, 2, 3));
        assert_eq!(reply.buckets_kept, report.buckets.kept);
    }
}
