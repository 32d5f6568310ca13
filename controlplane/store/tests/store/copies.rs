//! Several copies of a version on a real database: the queue, the workers' calls, and their races.

use std::sync::Arc;

use crate::support::{World, begun, op};
use s3o_core::call::{
    BeginCopy, Call, ChangeCopy, Commit, CompleteUpload, CopyChange, CreateUpload, ExtentOf, Outcome, PartOf,
    Refusal, Request,
};
use s3o_core::cleanup::Claim;
use s3o_core::intent::{Target, WriteKind};
use s3o_core::object::{CopyRow, CopyState, Locate, Want};
use s3o_core::ports::{Ledger, Replication, Sessions};
use s3o_core::replication::{
    CopiesPage, CopiesQuery, CopyTask, ReplicationEntry, ReplicationItem, ReplicationResult,
};
use s3o_types::{
    AckLevel, Checksums, Conditions, Digest, ErrorCode, Etag, Extent, Gen, ObjectAttributes, UploadId,
    VersionId,
};
use tokio::sync::Barrier;
use uuid::Uuid;

fn code(outcome: &Outcome) -> ErrorCode {
    let Outcome::Refused(Refusal { code, .. }) = outcome else { panic!("{outcome:?}") };
    *code
}

const fn claim(owner: Uuid) -> Claim {
    Claim { owner, lasts_us: 60_000_000, limit: 100, due_for_us: 0 }
}

impl World {
    pub(crate) async fn claimed(&self, owner: Uuid, task: CopyTask) -> Vec<ReplicationItem> {
        self.store.claim_versions(task, claim(owner)).await.unwrap()
    }

    pub(crate) async fn finish(&self, owner: Uuid, item: &ReplicationItem, result: ReplicationResult) {
        self.store.finish_versions(owner, vec![(item.clone(), result)]).await.unwrap();
    }

    async fn page(&self, key: &str, version: VersionId) -> Option<CopiesPage> {
        let entry =
            ReplicationEntry { version, bucket: self.bucket, key: key.to_owned(), task: CopyTask::Add };
        self.store.copies(CopiesQuery { entry, after: None }).await.unwrap()
    }

    pub(crate) fn of(&self, key: &str, version: VersionId) -> ExtentOf {
        ExtentOf { bucket: self.bucket, key: key.to_owned(), version, extent: Extent::ZERO }
    }

    pub(crate) fn begin_copy(&self, key: &str, version: VersionId) -> Call {
        Call::BeginCopy(BeginCopy { of: self.of(key, version), down: vec![] })
    }

    pub(crate) fn commit_copy(
        &self,
        op: s3o_types::Op,
        key: &str,
        size: u64,
        begun: &(VersionId, Vec<Target>),
    ) -> Request {
        let mut request = self.commit(op, key, size, begun);
        let Call::Commit(commit) = &mut request.call else { unreachable!() };
        commit.intent.replica = true;
        request
    }

    pub(crate) async fn copy(&self, key: &str, size: u64, version: VersionId) -> Outcome {
        let op = op();
        let outcome = self.store.submit(self.request(op, self.begin_copy(key, version))).await;
        let Outcome::Begun { version, targets, .. } = outcome else { return outcome };
        self.store.submit(self.commit_copy(op, key, size, &(version, targets))).await
    }

    pub(crate) fn change(&self, copy: &CopyRow, change: CopyChange) -> Request {
        let of = self.of(&copy.key, copy.blob.version);
        let change = ChangeCopy { of, backend: copy.backend, r#gen: copy.blob.r#gen, change };
        self.request(op(), Call::ChangeCopy(change))
    }

    pub(crate) async fn rows(&self, key: &str, version: VersionId) -> Vec<CopyRow> {
        let page = self.page(key, version).await.expect("the version is there");
        page.extents.into_iter().flat_map(|extent| extent.copies).map(|(copy, _)| copy).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_waits_until_it_is_done() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    let owner = world.owner().await;
    let claimed = world.claimed(owner, CopyTask::Add).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (claimed[0].entry.version, claimed[0].entry.key.as_str(), claimed[0].attempts),
        (version, "k", 0)
    );
    assert!(world.claimed(world.owner().await, CopyTask::Add).await.is_empty(), "it is claimed");
    assert!(world.claimed(owner, CopyTask::Trim).await.is_empty());
    world.finish(owner, &claimed[0], ReplicationResult::Failed("no\0room".to_owned())).await;
    assert!(world.claimed(owner, CopyTask::Add).await.is_empty(), "it backs off");
    world.sql.batch_execute("UPDATE replication_queue SET not_before = now()").await.unwrap();
    let again = world.claimed(owner, CopyTask::Add).await;
    assert_eq!(again[0].attempts, 1);
    // Somebody else's result counts for nothing.
    world.finish(Uuid::new_v4(), &again[0], ReplicationResult::Done).await;
    assert_eq!(world.store.waiting(CopyTask::Add).await.unwrap(), 1);
    world.finish(owner, &again[0], ReplicationResult::HandedOver(CopyTask::Trim)).await;
    assert_eq!(world.store.waiting(CopyTask::Trim).await.unwrap(), 1);
    let trim = world.claimed(owner, CopyTask::Trim).await;
    assert_eq!((trim.len(), trim[0].attempts), (1, 0));
    world.finish(owner, &trim[0], ReplicationResult::Done).await;
    assert_eq!(world.count("SELECT count(*) FROM replication_queue").await, 0);
    // One copy is what this bucket wants.
    world.want(AckLevel::One, 1).await;
    world.put("alone", 10).await;
    assert_eq!(world.count("SELECT count(*) FROM replication_queue").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_while_it_is_claimed_stays() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    world.copy("k", 10, version).await;
    let owner = world.owner().await;
    let claimed = world.claimed(owner, CopyTask::Add).await;
    let rows = world.rows("k", version).await;
    let marked = world.store.submit(world.change(&rows[1], CopyChange::Mark(CopyState::Missing))).await;
    assert_eq!(marked, Outcome::CopyChanged);
    world.finish(owner, &claimed[0], ReplicationResult::Done).await;
    let again = world.claimed(owner, CopyTask::Add).await;
    assert_eq!((again.len(), again[0].attempts), (1, 0));
    world.finish(owner, &again[0], ReplicationResult::Done).await;
    assert_eq!(world.count("SELECT count(*) FROM replication_queue").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_a_dead_worker_is_taken_over() {
    let world = World::copied(AckLevel::One, 2).await;
    world.put("k", 10).await;
    let (dead, heir) = (world.owner().await, world.owner().await);
    let claimed = world.claimed(dead, CopyTask::Add).await;
    world
        .sql
        .batch_execute("UPDATE replication_queue SET claimed_until = now() - interval '1 s'")
        .await
        .unwrap();
    let taken = world.claimed(heir, CopyTask::Add).await;
    assert_eq!(taken, claimed);
    world.finish(dead, &claimed[0], ReplicationResult::Done).await;
    assert_eq!(world.store.waiting(CopyTask::Add).await.unwrap(), 1, "the dead one came back too late");
    // A process that ended keeps nothing.
    Sessions::close(&world.store, heir).await.unwrap();
    let last = world.owner().await;
    assert_eq!(world.claimed(last, CopyTask::Add).await.len(), 1);
    // Handed on, and claimed for the other task by the same process: the first result counts no more.
    world.finish(last, &claimed[0], ReplicationResult::HandedOver(CopyTask::Trim)).await;
    assert_eq!(world.claimed(last, CopyTask::Trim).await.len(), 1);
    world.finish(last, &claimed[0], ReplicationResult::Done).await;
    assert_eq!(world.store.waiting(CopyTask::Trim).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_read_marked_replaced_and_dropped() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    assert!(matches!(world.copy("k", 10, version).await, Outcome::Committed { .. }));
    world.audit().await;
    let page = world.page("k", version).await.unwrap();
    assert_eq!((page.bucket_name.as_str(), page.replication_factor, page.more), ("photos", 2, false));
    assert_eq!((page.object.size, page.extents.len()), (10, 1));
    let rows = world.rows("k", version).await;
    assert_eq!(rows.len(), 2);
    let made = rows.iter().find(|row| row.blob.r#gen != Gen::ZERO).unwrap();
    assert_eq!(made.blob.r#gen, Gen::of_worker(0).unwrap());
    let locate = Locate { bucket: world.bucket, key: "k".to_owned(), version: None, want: Want::All };
    let located = world.store.locate(locate.clone()).await.unwrap().found().unwrap();
    assert_eq!(located.extents[0].copies.len(), 2, "readers have both");
    let of_version = Locate { want: Want::Of(version, 3, 10), ..locate.clone() };
    let further = world.store.locate(of_version.clone()).await.unwrap().found().unwrap();
    assert_eq!(further.extents, located.extents, "and who has begun with it, too");

    let mark = world.change(made, CopyChange::Mark(CopyState::Quarantined));
    assert_eq!(world.store.submit(mark.clone()).await, Outcome::CopyChanged);
    assert_eq!(world.store.submit(mark).await, Outcome::CopyChanged, "a repeat");
    let located = world.store.locate(locate).await.unwrap().found().unwrap();
    assert_eq!(located.extents[0].copies.len(), 1, "no reader tries it");
    let further = world.store.locate(of_version).await.unwrap().found().unwrap();
    assert_eq!((further.object.version, further.extents), (version, located.extents));
    world.audit().await;

    // The only other backend is full: it is replaced where it is.
    world.sql.batch_execute("UPDATE backends SET state = 'draining' WHERE name = 'b2'").await.unwrap();
    assert!(matches!(world.copy("k", 10, version).await, Outcome::Committed { .. }));
    let rows = world.rows("k", version).await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.state == CopyState::Verified));
    let gens: Vec<Gen> = rows.iter().map(|row| row.blob.r#gen).collect();
    assert!(gens.contains(&Gen::of_worker(1).unwrap()), "{gens:?}");
    world.audit().await;

    world.want(AckLevel::One, 1).await;
    let drop = world.change(&rows[0], CopyChange::Drop);
    assert_eq!(world.store.submit(drop).await, Outcome::CopyChanged);
    let last = world.change(&rows[1], CopyChange::Drop);
    assert_eq!(code(&world.store.submit(last).await), ErrorCode::PreconditionFailed);
    world.audit().await;

    // What is known of its attempts goes with the version.
    assert_eq!(world.count("SELECT count(*) FROM copy_attempts").await, 1);
    world.store.submit(world.delete(op(), "k")).await;
    assert_eq!(world.count("SELECT count(*) FROM copy_attempts").await, 0);
    assert!(world.page("k", version).await.is_none());
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_version_that_is_gone_is_refused_and_queued() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    let op1 = op();
    let begun = begun(world.store.submit(world.request(op1, world.begin_copy("k", version))).await);
    world.put("k", 20).await;
    let commit = world.commit_copy(op1, "k", 10, &begun);
    assert_eq!(code(&world.store.submit(commit.clone()).await), ErrorCode::NoSuchKey);
    assert_eq!(code(&world.store.submit(commit).await), ErrorCode::NoSuchKey, "a repeat");
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE reason = 'refused'").await, 1);
    let begin = world.request(op(), world.begin_copy("k", version));
    assert_eq!(code(&world.store.submit(begin).await), ErrorCode::NoSuchKey);
    world.audit().await;
}

/// The worst case of DESIGN §6: two workers have both read that there is one copy too many, and choose different ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_workers_that_drop_different_copies_at_once_leave_one() {
    let world = World::copied(AckLevel::One, 2).await;
    let other = world.another_store().await;
    for n in 0..30 {
        let key = format!("k{n}");
        let (version, _) = world.put(&key, 10).await;
        world.copy(&key, 10, version).await;
    }
    world.want(AckLevel::One, 1).await;
    for n in 0..30 {
        let key = format!("k{n}");
        let version = world.store.locate(Locate {
            bucket: world.bucket,
            key: key.clone(),
            version: None,
            want: Want::All,
        });
        let version = version.await.unwrap().found().unwrap().object.version;
        let rows = world.rows(&key, version).await;
        assert_eq!(rows.len(), 2);
        let both = Arc::new(Barrier::new(2));
        let drops = rows.iter().zip([&world.store, &other]).map(|(row, store)| {
            let (request, both) = (world.change(row, CopyChange::Drop), both.clone());
            async move {
                both.wait().await;
                store.submit(request).await
            }
        });
        let outcomes = futures::future::join_all(drops).await;
        let dropped = outcomes.iter().filter(|outcome| **outcome == Outcome::CopyChanged).count();
        assert_eq!(dropped, 1, "{outcomes:?}");
        assert_eq!(world.rows(&key, version).await.len(), 1);
    }
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attempts_of_two_replicas_never_share_a_storage_key() {
    let world = World::copied(AckLevel::One, 3).await;
    let other = world.another_store().await;
    let (version, _) = world.put("k", 10).await;
    let begins = (0..20).flat_map(|_| [&world.store, &other]).map(|store| {
        let request = world.request(op(), world.begin_copy("k", version));
        async move { begun(store.submit(request).await).1[0].storage_key.clone() }
    });
    let mut keys = futures::future::join_all(begins).await;
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 40);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_keep_as_many_copies_as_their_level_asks_for() {
    let world = World::copied(AckLevel::All, 2).await;
    let create = op();
    let attributes = ObjectAttributes::default();
    let call = CreateUpload { bucket: world.bucket, key: "k".to_owned(), attributes, checksum: None };
    world.store.submit(world.request(create, Call::CreateUpload(call))).await;
    let upload = UploadId(create.id);
    let put = async |part: u16, size: u64| {
        let op = op();
        let part = PartOf { upload, number: Extent::new(part).unwrap() };
        let mut request = world.begin(op, "k", size);
        let Call::Begin(begin) = &mut request.call else { unreachable!() };
        (begin.kind, begin.part) = (WriteKind::Part, Some(part));
        let begun = begun(world.store.submit(request).await);
        assert_eq!(begun.1.len(), 2);
        let mut request = world.commit(op, "k", size, &begun);
        let Call::Commit(commit) = &mut request.call else { unreachable!() };
        commit.intent.upload = Some(upload);
        commit.etag = Etag::new(&format!("{size:032x}"));
        assert!(matches!(world.store.submit(request).await, Outcome::Committed { .. }));
    };
    put(1, 10).await;
    put(1, 11).await;
    put(2, 20).await;
    put(3, 30).await;
    world.audit().await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE reason = 'replaced_part'").await, 2);
    let parts = [(1, 1), (2, 0)].map(|(n, g)| (Extent::new(n).unwrap(), Gen::new(g).unwrap()));
    let complete = CompleteUpload {
        bucket: world.bucket,
        key: "k".to_owned(),
        upload,
        conditions: Conditions::default(),
        etag: Etag::new("e-2"),
        checksums: Checksums::default(),
        parts: parts.to_vec(),
    };
    let done = world.store.submit(world.request(op(), Call::CompleteUpload(Box::new(complete)))).await;
    assert!(matches!(done, Outcome::Committed { .. }), "{done:?}");
    world.audit().await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE reason = 'unlisted_part'").await, 2);
    assert_eq!(world.count("SELECT count(*) FROM copies").await, 4);
    assert_eq!(world.count("SELECT count(*) FROM replication_queue").await, 0);
    let version = world.store.locate(Locate {
        bucket: world.bucket,
        key: "k".to_owned(),
        version: None,
        want: Want::All,
    });
    let version = version.await.unwrap().found().unwrap().object.version;
    let page = world.page("k", version).await.unwrap();
    let md5s: Vec<_> = page.extents.iter().map(|extent| extent.copies[0].0.md5).collect();
    assert_eq!(md5s, [11_u128, 20].map(|size| Some(size.to_be_bytes())));
    assert!(page.extents.iter().all(|extent| extent.copies.len() == 2));
}

/// A commit with fewer copies than its level asks for is refused, whatever the caller thinks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_is_counted_in_the_commit() {
    let world = World::copied(AckLevel::Quorum, 3).await;
    let op1 = op();
    let begun = world.begun(op1, "k", 10).await;
    assert_eq!(begun.1.len(), 3);
    let mut request = world.commit(op1, "k", 10, &begun);
    let Call::Commit(commit) = &mut request.call else { unreachable!() };
    let Commit { copies, .. } = &mut **commit;
    copies.truncate(1);
    assert_eq!(code(&world.store.submit(request).await), ErrorCode::ServiceUnavailable);
    let op2 = op();
    let begun = world.begun(op2, "k", 10).await;
    let mut request = world.commit(op2, "k", 10, &begun);
    let Call::Commit(commit) = &mut request.call else { unreachable!() };
    commit.copies.truncate(2);
    assert!(matches!(world.store.submit(request).await, Outcome::Committed { .. }));
    assert_eq!(world.count("SELECT count(*) FROM replication_queue").await, 1);
    world.audit().await;
}

/// What is to be verified is that first, whatever else comes; and then it is looked at for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_to_be_read_waits_for_nothing_else() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    let entry = |task| ReplicationEntry { version, bucket: world.bucket, key: "k".to_owned(), task };
    let owner = world.owner().await;
    // It waits for a copy; it is to be read before.
    world.store.queue_versions(vec![entry(CopyTask::Add), entry(CopyTask::Verify)]).await.unwrap();
    assert!(world.claimed(owner, CopyTask::Add).await.is_empty());
    world.store.queue_versions(vec![entry(CopyTask::Add)]).await.unwrap();
    let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
    world.finish(owner, &item, ReplicationResult::HandedOver(CopyTask::Add)).await;
    // While a copy is made somebody finds wrong bytes: it is read when that is done, however it ends.
    for result in [ReplicationResult::Done, ReplicationResult::Failed("no room".to_owned())] {
        let item = world.claimed(owner, CopyTask::Add).await.remove(0);
        world.store.queue_versions(vec![entry(CopyTask::Verify), entry(CopyTask::Add)]).await.unwrap();
        assert!(world.claimed(owner, CopyTask::Verify).await.is_empty(), "it is claimed");
        world.finish(owner, &item, result).await;
        let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
        world.finish(owner, &item, ReplicationResult::HandedOver(CopyTask::Add)).await;
    }
    let item = world.claimed(owner, CopyTask::Add).await.remove(0);
    world.finish(owner, &item, ReplicationResult::Done).await;
    assert_eq!(world.count("SELECT count(*) FROM replication_queue").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_stands_with_every_copy() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    world.copy("k", 10, version).await;
    let digest = Some(Digest::Crc64Nvme([7; 8]));
    let rows = world.rows("k", version).await;
    assert_eq!(rows.iter().map(|row| row.digest).collect::<Vec<_>>(), [digest; 2]);
    world.count("WITH u AS (UPDATE copies SET digest = NULL RETURNING 1) SELECT count(*) FROM u").await;
    let sha256 = Digest::Sha256([9; 32]);
    let verify = CopyChange::Verify(Some(sha256));
    assert_eq!(world.store.submit(world.change(&rows[1], verify)).await, Outcome::CopyChanged);
    let rows = world.rows("k", version).await;
    assert_eq!(rows.iter().map(|row| row.digest).collect::<Vec<_>>(), [None, Some(sha256)]);
    let located = world.store.locate(Locate {
        bucket: world.bucket,
        key: "k".to_owned(),
        version: None,
        want: Want::All,
    });
    let extent = located.await.unwrap().found().unwrap().extents.remove(0);
    assert_eq!(extent.copies.iter().find_map(|(copy, _)| copy.digest), Some(sha256));
}
