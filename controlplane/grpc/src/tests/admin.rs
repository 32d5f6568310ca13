//! The admin service, and who gets in where.

use s3o_proto::v1;
use s3o_proto::v1::admin_client::AdminClient;
use s3o_proto::v1::admin_server::Admin as _;
use s3o_proto::v1::data_plane_client::DataPlaneClient;
use tonic::{Code, Request};

use super::{Authorized, Plane, WithToken};
use crate::AdminService;
use crate::status::fields;

pub(super) fn admin(plane: &Plane, token: &'static str) -> AdminClient<Authorized> {
    AdminClient::with_interceptor(plane.channel.clone(), WithToken(token))
}

#[tokio::test]
async fn each_service_takes_its_own_token_only() {
    let plane = Plane::start().await;
    for token in ["", "x", "dp-token", "admin-tokem", "admin-token2"] {
        let refused = admin(&plane, token).get_status(v1::GetStatusRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token}");
    }
    assert!(admin(&plane, "admin-token").get_status(v1::GetStatusRequest {}).await.is_ok());
    let mut other = DataPlaneClient::with_interceptor(plane.channel.clone(), WithToken("admin-token"));
    assert_eq!(other.list(v1::ListRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
    let mut bare = DataPlaneClient::new(plane.channel.clone());
    assert_eq!(bare.list(v1::ListRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn before_the_database_was_reached_only_the_status_answers() {
    let plane = Plane::starting(Vec::new()).await;
    let status = admin(&plane, "admin-token").get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.instance.as_str(), status.database_reachable), ("replica-1", false));
    let refused = plane.dataplane().list(v1::ListRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn status_joins_configuration_and_numbers() {
    let plane = Plane::start().await;
    let service = AdminService::new(plane.wiring.clone());
    let status = service.get_status(Request::new(v1::GetStatusRequest {})).await.unwrap().into_inner();
    assert!(status.database_reachable && status.generation == 1);
    let expected = v1::BackendStatus {
        id: 3,
        name: "b3".into(),
        state: "active".into(),
        quota_bytes: 1000,
        used_bytes: 10,
        reserved_bytes: 20,
        orphan_bytes: 30,
        objects: 4,
        month_requests: 5,
        month_ingress_bytes: 8,
        month_egress_bytes: 9,
        limit_requests: 0,
        limit_ingress_bytes: 0,
        limit_egress_bytes: 10,
    };
    assert_eq!(status.backends, [expected]);
    assert_eq!((status.cleanup_queue, status.cleanup_dlq, status.intents), (5, 6, 7));
    assert_eq!(status.buckets[0].name, "photos");
}

#[tokio::test]
async fn workers_are_listed_and_run() {
    let plane = Plane::start().await;
    let mut client = admin(&plane, "admin-token");
    let workers = client.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    let seen = workers.iter().find(|worker| worker.instance == "replica-2").unwrap();
    assert_eq!(seen.last_success.as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(workers.iter().filter(|worker| worker.instance == "replica-1").count(), 2);
    let mut run = async |name: &str| {
        let mut progress = client.run_worker(v1::RunWorkerRequest { name: name.into() }).await?.into_inner();
        let (mut waiting, mut counts) = (None, None);
        while let Some(told) = progress.message().await? {
            assert_eq!(counts, None, "the last message is the last one");
            (waiting, counts) = (waiting.or(told.waiting), told.done.map(|done| done.counts));
        }
        Ok::<_, tonic::Status>((waiting, counts.expect("how it ended")))
    };
    let (waiting, counts) = run("cleanup_queue").await.unwrap();
    assert_eq!((waiting, counts["success"]), (Some(5), 2));
    let status = run("nobody").await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::NotFound, vec!["name".to_owned()]));
    // What waits for it cannot be counted, and it is begun all the same.
    let status = run("broken").await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("it broke"), "{status}");
    assert_eq!(run("").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_process_itself_needs_no_token() {
    let plane = Plane::start().await;
    let mut client = crate::in_process_admin(&plane.wiring);
    let status = client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.instance.as_str(), status.cleanup_queue), ("replica-1", 5));
    plane.shutdown.finish(std::time::Duration::from_secs(60)).await;
    assert!(client.get_status(v1::GetStatusRequest {}).await.is_err(), "it ends with the service");
}

#[tokio::test]
async fn a_rebalancing_tells_of_each_copy_and_of_the_whole() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    let request = v1::RebalanceRequest { dry_run: true, ..Default::default() };
    let mut run = admin.rebalance(request).await.unwrap().into_inner();
    let first = run.message().await.unwrap().unwrap();
    let copy = first.copy.unwrap();
    assert_eq!((copy.from.as_str(), copy.to.as_str(), copy.size, copy.why.as_str()), ("b1", "b2", 9, ""));
    assert_eq!((first.planned_bytes, first.moved, first.moved_bytes, first.api_calls), (10, 1, 9, 3));
    let last = run.message().await.unwrap().unwrap();
    assert!(last.copy.is_none() && last.moved == 1);
    assert!(run.message().await.unwrap().is_none());

    let (strategy, threshold_percent) = ("pack".to_owned(), Some(7));
    let request = v1::RebalanceRequest { strategy, threshold_percent, ..Default::default() };
    let mut run = admin.rebalance(request).await.unwrap().into_inner();
    let first = run.message().await.unwrap().unwrap();
    assert_eq!((first.planned_bytes, first.copy.unwrap().why.as_str()), (7, "pack"));
    let request = v1::RebalanceRequest { batch: Some(0), ..Default::default() };
    let mut run = admin.rebalance(request).await.unwrap().into_inner();
    let refused = run.message().await.unwrap_err();
    assert!(refused.message().contains("goes on already"), "{refused}");
    for (strategy, threshold_percent) in [("pile", None), ("", Some(101)), ("", Some(1000))] {
        let strategy = strategy.to_owned();
        let request = v1::RebalanceRequest { strategy, threshold_percent, ..Default::default() };
        assert_eq!(admin.rebalance(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn each_copy_of_an_object_is_told_of() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    let object = |bucket: &str, key: &str, version_id: &str| v1::ScrubObjectRequest {
        bucket: bucket.into(),
        key: key.into(),
        version_id: version_id.into(),
    };
    let mut copies = admin.scrub_object(object("photos", "photo", "null")).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(copy) = copies.message().await.unwrap() {
        seen.push((copy.backend, copy.size, copy.verdict, copy.why));
    }
    let copy = |verdict: &str, why: &str| ("b1".to_owned(), 3, verdict.to_owned(), why.to_owned());
    assert_eq!(seen, [copy("good", ""), copy("unread", "b2 is down")]);

    let mut none = admin.scrub_object(object("photos", "other", "")).await.unwrap().into_inner();
    assert_eq!(none.message().await.unwrap_err().code(), Code::NotFound);
    for (bucket, key, version_id) in [("", "photo", ""), ("photos", "", ""), ("photos", "photo", "x")] {
        let refused = admin.scrub_object(object(bucket, key, version_id)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bucket}/{key} {version_id}");
    }
}

#[tokio::test]
async fn what_a_data_plane_reports_is_queued_to_be_read() {
    let plane = Plane::start().await;
    let version = s3o_types::VersionId::mint(5, 6);
    let report = |version: Vec<u8>| v1::ReportCorruptionRequest {
        bucket: 1,
        key: "photo".into(),
        version: version.into(),
        request_id: "r".into(),
    };
    let mut client = plane.dataplane();
    client.report_corruption(report(version.to_uuid().as_bytes().to_vec())).await.unwrap();
    let queued = plane.fakes.queued.lock().unwrap().clone();
    let entry = s3o_core::replication::ReplicationEntry {
        version,
        bucket: s3o_types::BucketId(1),
        key: "photo".into(),
        task: s3o_core::replication::CopyTask::Verify,
    };
    assert_eq!(queued, [entry]);
    assert_eq!(client.report_corruption(report(vec![1])).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_drain_is_followed_until_nothing_is_left() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    let drain = |name: &str| v1::DrainBackendRequest { name: name.into() };
    let mut progress = admin.drain_backend(drain("b3")).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(report) = progress.message().await.unwrap() {
        seen.push((report.objects, report.bytes, report.other_bytes, report.waiting, report.done));
        assert!(report.asked && report.name == "b3");
    }
    assert_eq!(seen, [(1, 10, 1, 1, false), (0, 0, 0, 0, true)]);

    let unknown = admin.drain_backend(drain("b4")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("b4"), "{unknown}");
    admin.undrain_backend(v1::UndrainBackendRequest { name: "b3".into() }).await.unwrap();
    let none = admin.undrain_backend(v1::UndrainBackendRequest { name: "b4".into() }).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    let drains = admin.list_drains(v1::ListDrainsRequest {}).await.unwrap().into_inner().drains;
    assert_eq!(drains.len(), 1);
}
