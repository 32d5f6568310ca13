//! Missing copies are made, from whichever copy is good; bad ones are found out, and never copied.

use s3o_core::intent::TargetEnd;
use s3o_core::object::CopyState;
use s3o_core::replication::{CopiesPage, CopyTask, ReplicationResult};
use s3o_core::session::BackendUsage;
use s3o_core::usage::Usage;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{BackendId, BackendState, ErrorCode, Etag, Gen};
use s3o_workers::Deps;

use crate::copies::{CopiesState, copy, md5, page, storage_key};
use crate::fakes::{Fixture, State, hasty, mark, row, spec};

const ACTIVE: BackendState = BackendState::Active;
const BYTES: &[u8] = b"some bytes that are wanted twice";

/// Three servers, attached, with markers; the workers' first ticks are over.
async fn fixture() -> (Fixture, [FaultyBackend; 3]) {
    fixture_with(|_| {}).await
}

async fn fixture_with(set: impl FnOnce(&mut Deps)) -> (Fixture, [FaultyBackend; 3]) {
    let servers = [
        FaultyBackend::start().await.unwrap(),
        FaultyBackend::start().await.unwrap(),
        FaultyBackend::start().await.unwrap(),
    ];
    let rows = servers.iter().zip(1..).map(|(server, id)| {
        mark(server, id);
        row(spec(server, id), true)
    });
    let fixture = Fixture::start_with(rows.collect(), State::default(), set);
    fixture.run("replicator").await;
    (fixture, servers)
}

fn first() -> String {
    storage_key(Gen::ZERO)
}

fn worker_key(n: u16) -> String {
    storage_key(Gen::of_worker(n).unwrap())
}

/// Wanted twice, on two backends: the second is sure of nothing, and so asked last.
fn sure_and_unsure() -> CopiesPage {
    let mut page = page(BYTES, 2, &[(1, ACTIVE), (2, ACTIVE)]);
    page.extents[0].copies[1].0.state = CopyState::Uncertain;
    page
}

fn at(server: &FaultyBackend, key: &str) -> Option<Vec<u8>> {
    server.blob(key).map(|blob| blob.bytes.to_vec())
}

fn result(fixture: &Fixture) -> ReplicationResult {
    fixture.state().copies.finished.last().expect("finished").1.clone()
}

#[tokio::test]
async fn a_missing_copy_is_made_and_counted() {
    let (fixture, [one, two, _]) = fixture().await;
    one.plant(&first(), BYTES);
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page(BYTES, 2, &[(1, ACTIVE)]), &[2]);
    let counts = fixture.run("replicator").await;
    assert_eq!(counts["done"], 1);
    assert_eq!(at(&two, &worker_key(0)).as_deref(), Some(BYTES));
    assert_eq!(result(&fixture), ReplicationResult::Done);
    {
        let mut state = fixture.state();
        let commit = &state.copies.committed[0];
        assert!(commit.intent.replica && commit.failed.is_empty());
        assert_eq!(commit.copies[0].backend_etag, Some(md5(BYTES)));
        assert_eq!(state.copies.backends(), [(1, CopyState::Verified), (2, CopyState::Verified)]);
    }
    let text = fixture.metrics.encode();
    assert!(text.contains("s3o_replication_copies_created_total 1"), "{text}");
    assert!(text.contains("s3o_replication_pending 0"), "{text}");
    fixture.end().await;
}

/// What was imported from parts: its ETag says nothing of its bytes, and nothing else is known of them.
#[tokio::test]
async fn what_only_one_copy_has_is_taken_at_its_word_and_kept() {
    for (readable, is_kept) in [(1, true), (2, false)] {
        let (fixture, [one, two, three]) = fixture().await;
        for server in [&one, &two] {
            server.plant(&first(), BYTES);
        }
        let mut page = page(BYTES, 3, &[(1, ACTIVE), (2, ACTIVE)]);
        page.object.etag = Etag::new("0123456789abcdef0123456789abcdef-2");
        page.extents[0].copies[0].0.state = CopyState::Uncertain;
        page.extents[0].copies[1].0.state =
            if readable == 2 { CopyState::Uncertain } else { CopyState::Missing };
        fixture.state().copies = CopiesState::waiting(CopyTask::Add, page, &[3]);
        fixture.run("replicator").await;
        assert_eq!(at(&three, &worker_key(0)).as_deref(), Some(BYTES), "{readable} readable");
        let digest = fixture.state().copies.committed[0].copies[0].digest;
        assert_eq!(digest.is_some(), is_kept, "{readable} readable");
        // Read whole, it is as good as what was made of it.
        let source = if is_kept { CopyState::Verified } else { CopyState::Uncertain };
        assert_eq!(fixture.state().copies.backends()[0], (1, source), "{readable} readable");
        fixture.end().await;
    }
}

/// An import into a bucket that wants two copies: one more is enough, and the bytes stay where they are.
#[tokio::test]
async fn what_was_imported_is_one_of_those_that_are_wanted() {
    let (fixture, [one, two, three]) = fixture().await;
    one.plant(&first(), BYTES);
    let mut page = page(BYTES, 2, &[(1, ACTIVE)]);
    page.extents[0].copies[0].0.state = CopyState::Uncertain;
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page, &[2, 3]);
    fixture.run("replicator").await;
    assert_eq!(result(&fixture), ReplicationResult::Done);
    assert_eq!(fixture.state().copies.backends(), [(1, CopyState::Verified), (2, CopyState::Verified)]);
    assert_eq!((at(&two, &worker_key(0)).as_deref(), at(&three, &worker_key(1))), (Some(BYTES), None));
    fixture.end().await;
}

#[tokio::test]
async fn as_many_as_are_missing_are_made() {
    let (fixture, [one, two, three]) = fixture().await;
    one.plant(&first(), BYTES);
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page(BYTES, 3, &[(1, ACTIVE)]), &[2, 3]);
    let counts = fixture.run("replicator").await;
    assert_eq!(counts["done"], 1);
    assert_eq!(at(&two, &worker_key(0)).as_deref(), Some(BYTES));
    assert_eq!(at(&three, &worker_key(1)).as_deref(), Some(BYTES));
    fixture.end().await;
}

#[tokio::test]
async fn a_version_that_is_gone_needs_nothing() {
    let (fixture, _servers) = fixture().await;
    let mut state = CopiesState::waiting(CopyTask::Add, page(BYTES, 2, &[(1, ACTIVE)]), &[2]);
    state.versions.clear();
    fixture.state().copies = state;
    fixture.run("replicator").await;
    assert_eq!(result(&fixture), ReplicationResult::Done);
    assert!(fixture.state().copies.begun.is_empty());
    fixture.end().await;
}

#[tokio::test]
async fn too_many_copies_are_handed_over() {
    let (fixture, _servers) = fixture().await;
    let page = page(BYTES, 1, &[(1, ACTIVE), (2, ACTIVE)]);
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page, &[]);
    fixture.run("replicator").await;
    assert_eq!(result(&fixture), ReplicationResult::HandedOver(CopyTask::Trim));
    fixture.end().await;
}

#[tokio::test]
async fn a_source_without_the_blob_is_marked_and_another_one_serves() {
    let (fixture, [_one, two, three]) = fixture().await;
    two.plant(&first(), BYTES);
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, sure_and_unsure(), &[3]);
    fixture.run("replicator").await;
    assert_eq!(at(&three, &worker_key(0)).as_deref(), Some(BYTES));
    {
        let mut state = fixture.state();
        assert_eq!(state.copies.backends()[0], (1, CopyState::Missing));
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_backend_without_its_marker_is_not_believed() {
    let (fixture, [one, two, _]) = fixture().await;
    two.plant(&first(), BYTES);
    one.remove(".s3o/backend");
    let page = page(BYTES, 3, &[(1, ACTIVE), (2, ACTIVE)]);
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page, &[3]);
    fixture.run("replicator").await;
    assert!(fixture.state().copies.changed.is_empty());
    fixture.end().await;
}

#[tokio::test]
async fn corrupt_bytes_are_never_copied_and_the_copy_is_quarantined() {
    let (fixture, [one, two, three]) = fixture().await;
    one.plant(&first(), b"some bytes that are wanted twicE".as_slice());
    two.plant(&first(), BYTES);
    // Only the first can be asked.
    let page = page(BYTES, 3, &[(1, ACTIVE)]);
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page, &[3]);
    fixture.run("replicator").await;
    assert_eq!(at(&three, &worker_key(0)), None, "a bad copy was completed");
    let ReplicationResult::Failed(why) = result(&fixture) else { panic!("it was made") };
    assert!(why.contains("b1") && why.contains("MD5"), "{why}");
    {
        let mut state = fixture.state();
        let ended = state.copies.aborted[0].targets[0].end;
        assert!(matches!(ended, TargetEnd::Cut | TargetEnd::NotSent), "{ended:?}");
        assert_eq!(state.copies.backends(), [(1, CopyState::Quarantined)]);
        // With another one that is good it goes on.
        state.copies.rows().push((copy(2, BYTES), ACTIVE));
        state.copies.queue.push(crate::copies::item(CopyTask::Add));
    }
    fixture.run("replicator").await;
    assert_eq!(at(&three, &worker_key(1)).as_deref(), Some(BYTES));
    fixture.end().await;
}

#[tokio::test]
async fn a_target_that_refuses_is_left_out_and_another_one_takes_the_copy() {
    let (fixture, [one, two, three]) = fixture().await;
    one.plant(&first(), BYTES);
    two.inject(Rule::new(Fault::Status(403)).on(Operation::Put));
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page(BYTES, 2, &[(1, ACTIVE)]), &[2, 3]);
    fixture.run("replicator").await;
    assert_eq!(result(&fixture), ReplicationResult::Done);
    assert_eq!(at(&three, &worker_key(1)).as_deref(), Some(BYTES));
    assert_eq!(fixture.state().copies.aborted.len(), 1);
    fixture.end().await;
}

#[tokio::test]
async fn a_source_that_stalls_is_left_out_and_another_one_serves() {
    let (fixture, [one, two, three]) = fixture_with(hasty).await;
    one.plant(&first(), BYTES);
    two.plant(&first(), BYTES);
    one.inject(Rule::new(Fault::StallSending { after: 5 }).on(Operation::Get).key_contains("photos"));
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, sure_and_unsure(), &[3]);
    fixture.run("replicator").await;
    assert_eq!(
        result(&fixture),
        ReplicationResult::HandedOver(CopyTask::Trim),
        "with that one there are three"
    );
    assert_eq!(at(&three, &worker_key(1)).as_deref(), Some(BYTES), "the second attempt, by another way");
    let changed: Vec<_> = fixture.state().copies.changed.iter().map(|change| change.backend.0).collect();
    assert_eq!(changed, [2], "nothing is known to be wrong with it, and the other one is sure now");
    assert_eq!(fixture.state().copies.backends()[1], (2, CopyState::Verified));
    fixture.end().await;
}

#[tokio::test]
async fn a_target_that_fails_ends_in_abort_and_the_version_waits() {
    let (fixture, [one, two, _]) = fixture().await;
    one.plant(&first(), BYTES);
    two.inject(Rule::new(Fault::Status(503)).on(Operation::Put));
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page(BYTES, 2, &[(1, ACTIVE)]), &[2]);
    fixture.run("replicator").await;
    let ReplicationResult::Failed(why) = result(&fixture) else { panic!("it was made") };
    assert!(why.contains("b2"), "{why}");
    {
        let state = fixture.state();
        assert_eq!((state.copies.aborted.len(), state.copies.committed.len()), (1, 0));
        assert!(state.copies.changed.is_empty(), "the source is not to blame");
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_commit_that_is_refused_is_given_up() {
    let (fixture, [one, _two, _]) = fixture().await;
    one.plant(&first(), BYTES);
    let mut state = CopiesState::waiting(CopyTask::Add, page(BYTES, 2, &[(1, ACTIVE)]), &[2]);
    state.refuse_commits = Some(ErrorCode::NoSuchKey);
    fixture.state().copies = state;
    fixture.run("replicator").await;
    assert!(matches!(result(&fixture), ReplicationResult::Failed(_)));
    {
        let state = fixture.state();
        let ended = &state.copies.aborted[0].targets[0];
        assert_eq!(ended.end, TargetEnd::Stored, "the blob has to be queued");
    }
    fixture.end().await;
}

#[tokio::test]
async fn without_room_it_waits() {
    let (fixture, [one, _two, _]) = fixture().await;
    one.plant(&first(), BYTES);
    fixture.state().copies = CopiesState::waiting(CopyTask::Add, page(BYTES, 2, &[(1, ACTIVE)]), &[]);
    fixture.run("replicator").await;
    assert_eq!(result(&fixture), ReplicationResult::Failed("no backend has room".to_owned()));
    fixture.end().await;
}

/// Asked first, it would be found to have lost its copy.
#[tokio::test]
async fn whose_month_is_used_up_is_read_last() {
    let (fixture, [_one, two, three]) = fixture().await;
    two.plant(&first(), BYTES);
    fixture.change(|config| config.backends[0].limits.egress_bytes = Some(7));
    {
        let mut state = fixture.state();
        let month = BackendUsage { egress_bytes: 7, ..BackendUsage::default() };
        state.usage = vec![(BackendId(1), Usage::default(), month)];
        let copies = page(BYTES, 3, &[(1, ACTIVE), (2, ACTIVE)]);
        state.copies = CopiesState::waiting(CopyTask::Add, copies, &[3]);
    }
    fixture.run("replicator").await;
    assert_eq!(result(&fixture), ReplicationResult::Done);
    assert_eq!(at(&three, &worker_key(0)).as_deref(), Some(BYTES));
    assert!(fixture.state().copies.changed.is_empty(), "nobody has asked it");
    fixture.end().await;
}
