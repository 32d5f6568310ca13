//! Backends that are emptied, factors that change, backends that are lost: which versions are queued.

use crate::support::{World, declared, op};
use s3o_core::call::{
    BeginCopy, Call, ChangeCopy, CompleteUpload, CopyChange, CreateUpload, ExtentOf, Outcome, PartOf,
};
use s3o_core::intent::WriteKind;
use s3o_core::ports::{Drains, Ledger, Replication};
use s3o_core::replication::{CopiesQuery, CopyTask, Drain, ReplicationEntry};
use s3o_types::{
    AckLevel, BackendId, BackendState, Checksums, Conditions, Etag, Extent, Gen, ObjectAttributes, Op,
    UploadId, VersionId,
};
use uuid::Uuid;

const SECOND: i64 = 1_000_000;

impl World {
    /// All pages that are due.
    async fn scan(&self, unhealthy: &[BackendId]) -> u64 {
        self.sql
            .batch_execute("UPDATE copy_scans SET not_before = now() - interval '1 s' WHERE NOT finished")
            .await
            .unwrap();
        let mut queued = 0;
        while let Some(step) = self.store.scan(unhealthy).await.unwrap() {
            queued += step["queued"];
        }
        queued
    }

    async fn forget_queue(&self) {
        self.sql.batch_execute("DELETE FROM replication_queue").await.unwrap();
    }

    async fn state(&self, name: &str) -> BackendState {
        let row = self.sql.query_one("SELECT state FROM backends WHERE name = $1", &[&name]).await.unwrap();
        row.get::<_, &str>(0).parse().unwrap()
    }

    async fn drain_of(&self, name: &str) -> Option<Drain> {
        self.store.drains().await.unwrap().into_iter().find(|drain| drain.name == name)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_factor_queues_the_versions_of_its_bucket_once() {
    let world = World::copied(AckLevel::One, 1).await;
    for n in 0..5 {
        world.put(&format!("k{n}"), 1).await;
    }
    assert_eq!(world.scan(&[]).await, 0);
    world.want(AckLevel::One, 2).await;
    assert_eq!(world.scan(&[]).await, 5);
    assert_eq!(world.store.waiting(CopyTask::Add).await.unwrap(), 5);
    assert_eq!(world.scan(&[]).await, 0, "one pass");
    world.forget_queue().await;
    // The same factor again changes nothing.
    world.want(AckLevel::Quorum, 2).await;
    assert_eq!(world.scan(&[]).await, 0);
    // Those that have what they should have are passed over.
    world.want(AckLevel::One, 1).await;
    assert_eq!(world.scan(&[]).await, 0);
}

/// Versions that are not current are kept like any other, and delete markers have no bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_are_not_current_are_copied_too() {
    let world = World::copied(AckLevel::One, 1).await;
    world.sql.batch_execute("UPDATE buckets SET versioning = 'enabled', state = 'versioned'").await.unwrap();
    let (first, _) = world.put("k", 1).await;
    let (second, _) = world.put("k", 2).await;
    world.put("gone", 3).await;
    world.store.submit(world.delete(op(), "gone")).await;
    world.want(AckLevel::One, 2).await;
    assert_eq!(world.scan(&[]).await, 3);
    for (version, size) in [(first, 1), (second, 2)] {
        let entry =
            ReplicationEntry { version, bucket: world.bucket, key: "k".to_owned(), task: CopyTask::Add };
        let page =
            world.store.copies(CopiesQuery { entry, after: None }).await.unwrap().expect("it is there");
        assert_eq!((page.object.version, page.object.size, page.extents.len()), (version, size, 1));
        let of = ExtentOf { bucket: world.bucket, key: "k".to_owned(), version, extent: Extent::ZERO };
        let begin = Call::BeginCopy(BeginCopy { of, down: vec![] });
        let op = op();
        let begun = crate::support::begun(world.store.submit(world.request(op, begin)).await);
        let mut commit = world.commit(op, "k", size, &begun);
        let Call::Commit(call) = &mut commit.call else { unreachable!() };
        call.intent.replica = true;
        let outcome = world.store.submit(commit).await;
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
    assert_eq!(world.count("SELECT count(*) FROM copies").await, 5);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_goes_page_by_page_and_stops_while_enough_wait() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 1).await;
    let many = "
        INSERT INTO objects (bucket, key, seq, version, size, etag, modified)
        SELECT bucket, 'n' || n, 1000 + n, gen_random_uuid(), 1, 'e', now()
        FROM objects, generate_series(1, 2500) AS n WHERE key = 'k';
        INSERT INTO copies (version, extent, backend, gen, bucket, key, state, stored_size)
        SELECT version, 0, 1, 0, bucket, key, 'verified', 1 FROM objects WHERE key <> 'k'";
    world.sql.batch_execute(many).await.unwrap();
    world.want(AckLevel::One, 2).await;
    let first = world.store.scan(&[]).await.unwrap().unwrap();
    assert_eq!((first["looked_at"], first["queued"]), (1000, 1000));
    let full = "INSERT INTO replication_queue (version, bucket, key, task)
                SELECT gen_random_uuid(), 1, 'x', 'trim' FROM generate_series(1, 20000)";
    world.sql.batch_execute(full).await.unwrap();
    assert_eq!(world.store.scan(&[]).await.unwrap(), None, "enough wait");
    world.forget_queue().await;
    assert_eq!(world.scan(&[]).await, 1501);
    assert_eq!(world.count("SELECT count(*) FROM copy_scans").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_places_nothing_and_ends_when_nothing_is_left() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 10).await;
    // One that was placed before the drain, and commits after it.
    let late = op();
    let begun = world.begun(late, "late", 10).await;
    assert!(!world.store.drain("nowhere").await.unwrap());
    assert!(!world.store.undrain("b0").await.unwrap(), "nobody asked for a drain");
    assert!(world.store.drain("b0").await.unwrap());
    assert!(world.store.drain("b0").await.unwrap(), "to ask twice changes nothing");
    assert_eq!(world.state("b0").await, BackendState::Draining);
    let other = world.begun(op(), "new", 10).await;
    assert_ne!(other.1[0].backend, begun.1[0].backend);

    assert_eq!(world.scan(&[]).await, 1);
    let drain = world.drain_of("b0").await.unwrap();
    assert_eq!((drain.asked, drain.objects, drain.bytes, drain.done), (true, 1, 10, false));
    assert_eq!((drain.other_bytes, drain.waiting), (10, 1));
    world.forget_queue().await;
    // As if it had been moved.
    world.store.submit(world.delete(op(), "k")).await;
    world.scan(&[]).await;
    assert!(!world.drain_of("b0").await.unwrap().done, "a write to it is under way");
    world.store.submit(world.commit(late, "late", 10, &begun)).await;
    assert_eq!(world.scan(&[]).await, 1, "a commit onto it stands, and is found");
    world.store.submit(world.delete(op(), "late")).await;
    world.scan(&[]).await;
    let drain = world.drain_of("b0").await.unwrap();
    assert_eq!((drain.objects, drain.done), (0, false), "its blobs are queued still");
    world
        .sql
        .batch_execute("DELETE FROM cleanup_queue; UPDATE backend_usage SET orphaned = 0")
        .await
        .unwrap();
    assert!(world.drain_of("b0").await.unwrap().done);
    // A file of the journal is there still; reconcile has attached an empty object since.
    for (left, gone) in
        [("used = used + 7", "used = used - 7"), ("objects = objects + 1", "objects = objects - 1")]
    {
        let change = |what| format!("UPDATE backend_usage SET {what} WHERE backend = 1 AND slot = 0");
        world.sql.batch_execute(&change(left)).await.unwrap();
        assert!(!world.drain_of("b0").await.unwrap().done, "{left}");
        world.sql.batch_execute(&change(gone)).await.unwrap();
        assert!(world.drain_of("b0").await.unwrap().done, "{gone}");
    }

    // What YAML declares does not end it, only the operator does.
    world.want(AckLevel::One, 2).await;
    assert_eq!(world.state("b0").await, BackendState::Draining);
    assert!(world.store.undrain("b0").await.unwrap());
    assert_eq!(world.state("b0").await, BackendState::Active);
    assert!(world.drain_of("b0").await.is_none());
    assert_eq!(world.store.retire().await.unwrap(), 0, "it is declared");
}

/// As any write that was placed there before: what it acknowledges stands, and is moved once it is an object's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_was_placed_before_the_drain_stands_and_is_moved_after_complete() {
    let world = World::copied(AckLevel::One, 1).await;
    let (create, first) = (op(), Extent::new(1).unwrap());
    let (key, attributes) = ("k".to_owned(), ObjectAttributes::default());
    let call = CreateUpload { bucket: world.bucket, key: key.clone(), attributes, checksum: None };
    world.store.submit(world.request(create, Call::CreateUpload(call))).await;
    let upload = UploadId(create.id);
    let begin = |op: Op, number| {
        let mut request = world.begin(op, "k", 10);
        let Call::Begin(begin) = &mut request.call else { unreachable!() };
        (begin.kind, begin.part) = (WriteKind::Part, Some(PartOf { upload, number }));
        request
    };
    let early = op();
    let begun = crate::support::begun(world.store.submit(begin(early, first)).await);
    assert!(world.store.drain("b0").await.unwrap());
    let late = world.store.submit(begin(op(), Extent::new(2).unwrap())).await;
    let there = begun.1[0].backend;
    assert_ne!(crate::support::begun(late).1[0].backend, there, "one that begins now goes elsewhere");

    let mut commit = world.commit(early, "k", 10, &begun);
    let Call::Commit(call) = &mut commit.call else { unreachable!() };
    call.intent.upload = Some(upload);
    let outcome = world.store.submit(commit).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    assert_eq!(world.scan(&[]).await, 0);
    let drain = world.drain_of("b0").await.unwrap();
    assert_eq!((drain.objects, drain.other_bytes, drain.done), (0, 10, false), "it waits for the upload");

    let complete = CompleteUpload {
        bucket: world.bucket,
        key: key.clone(),
        upload,
        conditions: Conditions::default(),
        etag: Etag::new("e-1"),
        checksums: Checksums::default(),
        parts: vec![(first, Gen::ZERO)],
    };
    let outcome = world.store.submit(world.request(op(), Call::CompleteUpload(Box::new(complete)))).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    assert_eq!(world.scan(&[]).await, 1, "now it is an object's");
    let version = world.sql.query_one("SELECT version FROM objects", &[]).await.unwrap();
    let version = VersionId::from_uuid(version.get(0));
    let of = ExtentOf { bucket: world.bucket, key, version, extent: first };
    let copy = op();
    let call = Call::BeginCopy(BeginCopy { of: of.clone(), down: vec![] });
    let made = crate::support::begun(world.store.submit(world.request(copy, call)).await);
    let mut commit = world.commit(copy, "k", 10, &made);
    let Call::Commit(call) = &mut commit.call else { unreachable!() };
    call.intent.replica = true;
    let outcome = world.store.submit(commit).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    let old = ChangeCopy { of, backend: there, r#gen: Gen::ZERO, change: CopyChange::Drop };
    let dropped = world.store.submit(world.request(op(), Call::ChangeCopy(old))).await;
    assert_eq!(dropped, Outcome::CopyChanged);
    world.audit().await;
    world
        .sql
        .batch_execute("DELETE FROM cleanup_queue; UPDATE backend_usage SET orphaned = 0")
        .await
        .unwrap();
    world.scan(&[]).await;
    assert!(world.drain_of("b0").await.unwrap().done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_left_the_file_is_drained_and_forgotten() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 10).await;
    let mut without = declared(&[None, None, None]);
    without.backends.remove(0);
    world.store.apply_declared(&without, "without b0").await.unwrap();
    assert_eq!(world.scan(&[]).await, 1);
    let drain = world.drain_of("b0").await.unwrap();
    assert!(!drain.asked && !drain.done);
    assert_eq!(world.store.retire().await.unwrap(), 0, "its object is there still");
    // Declared again: what was copied elsewhere meanwhile is looked at once more.
    world.store.apply_declared(&declared(&[None, None, None]), "with b0 again").await.unwrap();
    assert!(world.drain_of("b0").await.is_none());
    assert_eq!(world.count("SELECT count(*) FROM copy_scans WHERE kind = 'returned'").await, 1);
    world.store.apply_declared(&without, "without b0 again").await.unwrap();
    world.store.submit(world.delete(op(), "k")).await;
    world
        .sql
        .batch_execute("DELETE FROM cleanup_queue; UPDATE backend_usage SET orphaned = 0")
        .await
        .unwrap();
    assert_eq!(world.store.retire().await.unwrap(), 1);
    assert_eq!(world.store.retire().await.unwrap(), 0);
    assert_eq!(world.count("SELECT count(*) FROM copy_scans WHERE kind = 'drain'").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_lost_only_when_all_replicas_say_so() {
    let world = World::copied(AckLevel::One, 2).await;
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let lost = BackendId(1);
    let views = |down: Option<i64>| vec![(lost, down), (BackendId(2), None)];
    let say = async |replica, down| world.store.unhealthy(replica, views(down), 600 * SECOND).await.unwrap();
    assert!(say(one, Some(599 * SECOND)).await.is_empty(), "not for long enough");
    assert_eq!(say(one, Some(600 * SECOND)).await, [lost]);
    assert!(say(two, None).await.is_empty(), "another replica reaches it");
    assert!(say(one, Some(700 * SECOND)).await.is_empty());
    assert_eq!(say(two, Some(601 * SECOND)).await, [lost]);
    say(two, None).await;
    // A replica that ended says nothing any more.
    world.sql.batch_execute("UPDATE backend_views SET seen = now() - interval '2 minutes'").await.unwrap();
    assert_eq!(say(one, Some(800 * SECOND)).await, [lost]);
    // One that has just begun, and has not reached it yet, does not bring it back.
    let three = Uuid::new_v4();
    assert_eq!(world.store.unhealthy(three, vec![], 600 * SECOND).await.unwrap(), [lost]);
    assert_eq!(say(three, Some(SECOND)).await, [lost]);
    world.scan(&[lost]).await;
    world.sql.batch_execute("DELETE FROM backend_views").await.unwrap();
    assert_eq!(
        world.store.unhealthy(three, vec![], 600 * SECOND).await.unwrap(),
        [lost],
        "nobody has reached it"
    );
    assert!(say(three, None).await.is_empty());

    // A data plane has a word too, but never the first one.
    let plane = Uuid::new_v4();
    assert_eq!(say(three, Some(800 * SECOND)).await, [lost]);
    world.store.note_views(plane, views(None)).await.unwrap();
    assert!(say(three, Some(900 * SECOND)).await.is_empty(), "a data plane reaches it");
    world.store.note_views(plane, views(Some(0))).await.unwrap();
    assert_eq!(say(three, Some(900 * SECOND)).await, [lost]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_backend_holds_is_queued_once_and_again_when_it_is_back() {
    let world = World::copied(AckLevel::All, 2).await;
    for n in 0..3 {
        world.put(&format!("k{n}"), 1).await;
    }
    assert_eq!(world.scan(&[]).await, 0);
    let lost = [BackendId(1)];
    assert_eq!(world.scan(&lost).await, 3);
    world.forget_queue().await;
    assert_eq!(world.scan(&lost).await, 0, "once");
    // Third copies were made meanwhile.
    let third = "INSERT INTO copies (version, extent, backend, gen, bucket, key, state, stored_size)
                 SELECT version, 0, 3, 9, bucket, key, 'verified', 1 FROM objects WHERE key <> 'k0'";
    world.sql.batch_execute(third).await.unwrap();
    assert_eq!(world.scan(&[]).await, 2, "those that have too many");
    assert_eq!(world.count("SELECT count(*) FROM copy_scans").await, 0);
}
