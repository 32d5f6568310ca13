//! Every call there and every outcome back, and what is said of calls that cannot be read.

use s3o_core::call::{
    Abort, Begin, Call, Commit, Delete, Outcome, Refusal, Resolution, Retarget, SetTags, StoredCopy,
};
use s3o_core::intent::{TargetEnd, WriteKind};
use s3o_core::object::Locate;
use s3o_proto::v1;
use s3o_proto::v1::operation::Call as WireCall;
use s3o_proto::v1::outcome::Result as WireResult;
use s3o_types::{BackendId, BucketId, Digest, ErrorCode, Etag, Seq, Timestamp, VersionRef};
use uuid::Uuid;

use super::Plane;
use super::stream::Stream;
use super::values::{
    attributes, conditions, copied_piece, encoding, finished, id, intent, refused, target, wire_attributes,
    wire_conditions, wire_encoding, wire_finished, wire_intent, wire_target,
};

async fn round_trip(call: WireCall, outcome: Outcome) -> (Call, WireResult) {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    plane.fakes.outcomes.lock().unwrap().push_back(outcome);
    let mut stream = Stream::open(&plane).await;
    stream.send(vec![(7, Some(call))]).await;
    let result = stream.outcomes(1).await.remove(&7).unwrap();
    let request = plane.fakes.requests.lock().unwrap().pop().unwrap();
    assert_eq!((request.op.id, request.op.item), (Uuid::from_u128(5), 2));
    assert_eq!(request.session, Uuid::from_u128(6));
    assert_eq!((request.access_key.as_str(), request.source.as_str()), ("ak", "192.0.2.1"));
    assert!(request.bulk && request.request_id == "r");
    (request.call, result)
}

#[tokio::test]
async fn begin_and_begun() {
    let wire = v1::Begin {
        part: None,
        bucket: 1,
        key: "k".into(),
        size: 9,
        conditions: Some(wire_conditions()),
        kind: v1::WriteKind::Copy.into(),
        down: vec![4],
        prefer: vec![5],
        lock: wire_attributes().lock,
    };
    let outcome = Outcome::Begun { version: id(), targets: vec![target()], required_copies: 1 };
    let (call, result) = round_trip(WireCall::Begin(wire), outcome).await;
    let Call::Begin(Begin { bucket, key, size, conditions: found, kind, part, down, prefer, lock }) = call
    else {
        panic!("{call:?}")
    };
    assert_eq!((bucket, key.as_str(), size, kind), (BucketId(1), "k", 9, WriteKind::Copy));
    assert!(part.is_none() && lock == attributes().lock);
    assert_eq!((found, down, prefer), (conditions(), vec![BackendId(4)], vec![BackendId(5)]));
    let version = id().to_uuid().as_bytes().to_vec().into();
    let begun = v1::Begun { version, targets: vec![wire_target()], required_copies: 1 };
    assert_eq!(result, WireResult::Begun(begun));
}

#[tokio::test]
async fn retarget_and_retargeted() {
    let wire = v1::Retarget { intent: Some(wire_intent()), failed: 3, down: vec![3, 4] };
    let (call, result) = round_trip(WireCall::Retarget(wire), Outcome::Retargeted(target())).await;
    let Call::Retarget(Retarget { intent: carried, failed, down }) = call else { panic!("{call:?}") };
    assert_eq!((carried, failed, down), (intent(), BackendId(3), vec![BackendId(3), BackendId(4)]));
    assert_eq!(result, WireResult::Retargeted(v1::Retargeted { target: Some(wire_target()) }));
}

#[tokio::test]
async fn commit_and_committed() {
    let copy = v1::StoredCopy {
        backend: 3,
        extent: 0,
        r#gen: 1,
        stored_size: 10,
        backend_etag: "be".into(),
        backend_version: "bv".into(),
        encoding: Some(wire_encoding()),
        digest: vec![7; 8].into(),
    };
    let piece = copied_piece();
    let wire = v1::Commit {
        intent: Some(wire_intent()),
        etag: "e".into(),
        attributes: Some(wire_attributes()),
        checksums: [("crc32".to_owned(), "AAAA".to_owned())].into(),
        copies: vec![copy],
        failed: vec![wire_finished(v1::TargetEnd::Cut.into())],
        copied: vec![s3o_wire::copied::to_wire(piece.clone())],
    };
    let outcome =
        Outcome::Committed { seq: Seq(12), modified: Timestamp(34), version: Some(VersionRef::Null) };
    let (call, result) = round_trip(WireCall::Commit(wire), outcome).await;
    let Call::Commit(commit) = call else { panic!("{call:?}") };
    let Commit { intent: carried, etag, attributes: found, checksums, copies, failed, copied } = *commit;
    assert_eq!((carried, etag, found), (intent(), Etag::new("e"), attributes()));
    assert_eq!(checksums.values["crc32"], "AAAA");
    let stored = StoredCopy {
        target: target().id(),
        stored_size: 10,
        backend_etag: Some(Etag::new("be")),
        backend_version: Some("bv".into()),
        encoding: encoding(),
        digest: Some(Digest::Crc64Nvme([7; 8])),
    };
    assert_eq!((copies, failed), (vec![stored], vec![finished(TargetEnd::Cut)]));
    assert_eq!(copied, [piece]);
    assert_eq!(
        result,
        WireResult::Committed(v1::Committed { seq: 12, modified_us: 34, version_id: "null".into() })
    );
}

#[tokio::test]
async fn abort_and_aborted() {
    use v1::TargetEnd as Wire;

    let ends = [
        (Wire::NotSent.into(), TargetEnd::NotSent),
        (Wire::Cut.into(), TargetEnd::Cut),
        (Wire::Stored.into(), TargetEnd::Stored),
        (Wire::Unknown.into(), TargetEnd::Unknown),
        (77, TargetEnd::Unknown),
    ];
    let targets = ends.iter().map(|(wire, _)| wire_finished(*wire)).collect();
    let wire = v1::Abort { intent: Some(wire_intent()), targets };
    let (call, result) = round_trip(WireCall::Abort(wire), Outcome::Aborted).await;
    let Call::Abort(Abort { intent: carried, targets }) = call else { panic!("{call:?}") };
    assert_eq!(carried, intent());
    assert_eq!(targets, ends.map(|(_, end)| finished(end)));
    assert_eq!(result, WireResult::Aborted(v1::Aborted {}));
}

#[tokio::test]
async fn set_tags_and_tags_set() {
    let tags = [("a".to_owned(), "ü".to_owned())].into();
    let wire = v1::SetTags { bucket: 1, key: "k".into(), tags, version_id: "null".into() };
    let (call, result) = round_trip(WireCall::SetTags(wire), Outcome::TagsSet { version: None }).await;
    let Call::SetTags(SetTags { bucket, key, tags, version }) = call else { panic!("{call:?}") };
    assert_eq!(version, Some(VersionRef::Null));
    assert_eq!((bucket, key.as_str(), tags.len()), (BucketId(1), "k", 1));
    assert_eq!(tags["a"], "ü");
    assert_eq!(result, WireResult::TagsSet(v1::TagsSet::default()));
}

/// Such is every call that a later release adds: a code says that it was not even tried.
#[tokio::test]
async fn a_call_that_is_not_known_is_refused_as_such() {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    let mut stream = Stream::open(&plane).await;
    stream.send(vec![(1, None)]).await;
    let WireResult::Refused(v1::Refused { code, message }) = stream.outcomes(1).await.remove(&1).unwrap()
    else {
        panic!("it was not refused")
    };
    assert_eq!(code, ErrorCode::FeatureRequired.info().wire);
    assert!(message.starts_with("call: "), "{message}");
}

#[tokio::test]
async fn outcomes_return_as_they_are_decided() {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    let mut stream = Stream::open(&plane).await;
    let delete = v1::Delete {
        bucket: 1,
        key: "k".into(),
        conditions: Some(wire_conditions()),
        version_id: String::new(),
        bypass_governance: true,
    };
    let locate = v1::Locate {
        bucket: 1,
        key: "k".into(),
        range_start: Some(1),
        range_end: Some(4),
        ..Default::default()
    };
    stream.send(vec![(1, Some(WireCall::Delete(delete))), (2, Some(WireCall::Locate(locate)))]).await;
    let first = stream.outcomes(1).await;
    assert_eq!(first[&2], refused(ErrorCode::NoSuchKey, "the key does not exist"));
    plane.fakes.late.notify_one();
    let second = stream.outcomes(1).await;
    assert_eq!(second[&1], WireResult::Deleted(v1::Deleted { existed: true, ..v1::Deleted::default() }));
    let Call::Delete(Delete { bucket, key, conditions: found, version: None, bypass_governance: true }) =
        plane.fakes.requests.lock().unwrap().pop().unwrap().call
    else {
        panic!("not a delete")
    };
    assert_eq!((bucket, key.as_str(), found), (BucketId(1), "k", conditions()));
    let want = s3o_core::object::Want::Range(1, 4);
    let query = Locate { bucket: BucketId(1), key: "k".into(), version: None, want };
    assert_eq!(*plane.fakes.locates.lock().unwrap(), [query]);
}

#[tokio::test]
async fn refusals_and_foreign_outcomes() {
    let delete = || WireCall::Retarget(v1::Retarget { intent: Some(wire_intent()), failed: 3, down: vec![] });
    let refusal = Refusal::new(ErrorCode::InsufficientStorage, "full");
    let (_, result) = round_trip(delete(), refusal.into()).await;
    assert_eq!(result, refused(ErrorCode::InsufficientStorage, "full"));
    let (_, result) = round_trip(delete(), Outcome::Resolved(Resolution::Dropped)).await;
    let WireResult::Refused(v1::Refused { code, .. }) = result else { panic!("{result:?}") };
    assert_eq!(code, ErrorCode::InternalError.info().wire);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_field_and_alone() {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    let mut stream = Stream::open(&plane).await;
    let begin = |change: &dyn Fn(&mut v1::Begin)| {
        let mut begin = v1::Begin { bucket: 1, key: "k".into(), kind: 1, ..v1::Begin::default() };
        change(&mut begin);
        Some(WireCall::Begin(begin))
    };
    let abort = |change: &dyn Fn(&mut v1::Intent)| {
        let mut intent = wire_intent();
        change(&mut intent);
        Some(WireCall::Abort(v1::Abort { intent: Some(intent), targets: vec![] }))
    };
    let half = v1::Locate { bucket: 1, key: "k".into(), range_start: Some(1), ..Default::default() };
    let cases: Vec<(Option<WireCall>, &str)> = vec![
        (begin(&|b| b.kind = 9), "begin.kind"),
        (begin(&|b| b.kind = 0), "begin.kind"),
        (begin(&|b| b.key = "a\0b".into()), "begin.key"),
        (begin(&|b| b.key = String::new()), "begin.key"),
        (begin(&|b| b.size = u64::MAX), "begin.size"),
        (abort(&|i| i.version = vec![1].into()), "abort.intent.version"),
        (abort(&|i| i.targets[0].extent = 1 << 15), "abort.intent.targets.extent"),
        (abort(&|i| i.targets[0].r#gen = u32::MAX), "abort.intent.targets.gen"),
        (Some(WireCall::Abort(v1::Abort::default())), "abort.intent"),
        (Some(WireCall::Locate(half)), "locate.range_end"),
    ];
    let sent = cases.iter().enumerate().map(|(i, (call, _))| (i as u64, call.clone())).collect();
    stream.send(sent).await;
    let outcomes = stream.outcomes(cases.len()).await;
    for (i, (_, field)) in cases.iter().enumerate() {
        let WireResult::Refused(v1::Refused { code, message }) = &outcomes[&(i as u64)] else {
            panic!("{field} was not refused")
        };
        assert_eq!(*code, ErrorCode::InvalidArgument.info().wire, "{field}");
        assert!(message.starts_with(&format!("{field}: ")), "{field}: {message}");
    }
    stream.send(vec![(90, begin(&|b| b.key = "k".repeat(1025)))]).await;
    let WireResult::Refused(v1::Refused { code, .. }) = stream.outcomes(1).await.remove(&90).unwrap() else {
        panic!("a long key was not refused")
    };
    assert_eq!(code, ErrorCode::KeyTooLong.info().wire);
    assert!(plane.fakes.requests.lock().unwrap().is_empty(), "nothing of it reached the ledger");
}

#[tokio::test]
async fn more_calls_than_a_stream_holds_are_all_answered() {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    let mut stream = Stream::open(&plane).await;
    let locate = v1::Locate { bucket: 1, key: "k".into(), ..Default::default() };
    let calls = (0..3000).map(|number| (number, Some(WireCall::Locate(locate.clone())))).collect();
    stream.send(calls).await;
    assert_eq!(stream.outcomes(3000).await.len(), 3000);
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_read() {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    let mut stream = Stream::open(&plane).await;
    let delete = v1::Delete { bucket: 1, key: "k".into(), ..v1::Delete::default() };
    stream.send(vec![(1, Some(WireCall::Delete(delete)))]).await;
    while plane.fakes.requests.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    plane.shutdown.begin();
    plane.fakes.late.notify_one();
    assert_eq!(
        stream.outcomes(1).await[&1],
        WireResult::Deleted(v1::Deleted { existed: true, ..v1::Deleted::default() })
    );
    assert!(stream.down.message().await.unwrap().is_none(), "then the stream ends");
}
