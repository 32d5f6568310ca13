//! Uploads that nobody finished are given up, one by one, by the ledger.

use s3o_core::call::{Outcome, Refusal};
use s3o_core::ports::WorkerControl as _;
use s3o_core::upload::{UploadRow, UploadState};
use s3o_types::{BucketId, ErrorCode, ObjectAttributes, Timestamp, UploadId, VersionId};
use uuid::Uuid;

use crate::fakes::{Fixture, State};

fn upload(n: u128) -> UploadRow {
    UploadRow {
        id: UploadId(Uuid::from_u128(n)),
        bucket: BucketId(1),
        key: format!("k{n}"),
        version: VersionId::mint(1, 2),
        state: UploadState::Open,
        attributes: ObjectAttributes::default(),
        checksum: None,
        initiated: Timestamp(0),
        initiator: "client".to_owned(),
        completed: None,
    }
}

/// After the tick with which every worker begins.
async fn with_stale(abort_outcomes: Vec<Outcome>) -> Fixture {
    let fixture = Fixture::start(Vec::new(), State::default());
    fixture.run("stale_multipart").await;
    fixture.state().stale = vec![upload(1), upload(2)];
    fixture.state().abort_outcomes = abort_outcomes;
    fixture
}

#[tokio::test]
async fn each_is_given_up_and_one_that_its_client_closed_is_passed_over() {
    let gone = Refusal::new(ErrorCode::NoSuchUpload, "completed").into();
    let fixture = with_stale(vec![Outcome::UploadAborted, gone]).await;
    let counts = fixture.run("stale_multipart").await;
    assert_eq!((counts["aborted"], counts["already_closed"], counts["pruned"]), (1, 1, 0));
    let aborted = fixture.state().aborted.clone();
    assert_eq!(aborted.len(), 2);
    assert!(aborted.iter().all(|abort| abort.stale));
    assert_eq!((aborted[0].upload, aborted[0].key.as_str()), (UploadId(Uuid::from_u128(1)), "k1"));
    fixture.end().await;
}

#[tokio::test]
async fn one_that_cannot_be_given_up_fails_the_tick() {
    let busy = Refusal::new(ErrorCode::ServiceUnavailable, "the database is away").into();
    let fixture = with_stale(vec![busy, Outcome::UploadAborted]).await;
    let error = fixture.workers.run("stale_multipart").await.unwrap_err().unwrap();
    assert!(error.contains("the database is away"), "{error}");
    assert_eq!(fixture.state().aborted.len(), 2, "the second did not wait for the first");
    fixture.end().await;
}
