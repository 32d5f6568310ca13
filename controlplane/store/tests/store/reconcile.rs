//! Reconcile on a real database: rows in the order of their storage keys, what names a blob, runs, imports.

use crate::support::{World, op};
use s3o_core::call::{
    BlobFate, Call, ChangeCopy, CopyChange, ExtentOf, Import, Outcome, Refusal, SettleBlob,
};
use s3o_core::cleanup::Claim;
use s3o_core::object::CopyState;
use s3o_core::ports::{Configs, Drains, Ledger, Queues, Reconciliation, Sessions};
use s3o_core::reconcile::{
    AskRun, Candidate, CandidateKind, KeyRange, KnownCopy, LostCopy, Order, OrderStep, RowsQuery, Run,
    RunKind, RunPhase, RunState, Stray, StrayKind, prefixes,
};
use s3o_types::{
    AckLevel, BackendId, BlobName, Encoding, ErrorCode, Etag, Extent, Gen, ObjectAttributes, StorageKey,
    Timestamp, VersionId,
};

fn code(outcome: &Outcome) -> ErrorCode {
    let Outcome::Refused(Refusal { code, .. }) = outcome else { panic!("{outcome:?}") };
    *code
}

fn first(version: VersionId) -> BlobName {
    BlobName::first(version)
}

fn storage_key(key: &str, blob: BlobName) -> String {
    StorageKey::format("photos", key, blob)
}

impl World {
    async fn backend(&self) -> BackendId {
        self.store.newest().await.unwrap().backends[0].spec.id
    }

    async fn one_run(&self) -> Claim {
        Claim { owner: self.owner().await, lasts_us: 60_000_000, limit: 1, due_for_us: 0 }
    }

    fn query(&self, backend: BackendId, keys: KeyRange, per_key: u16) -> RowsQuery {
        let bucket_name = "photos".to_owned();
        RowsQuery { backend, bucket: self.bucket, bucket_name, keys, after: None, per_key }
    }

    /// The rows behind a storage key, as a run reads them.
    async fn in_order(&self, backend: BackendId, behind: &str, page: u16, per_key: u16) -> Vec<String> {
        let mut order: Order<KnownCopy> = Order::default();
        let seeds = self.query(backend, KeyRange::These(prefixes(behind, "photos/")), 1000);
        let mut seeds = self.store.rows(seeds).await.unwrap().keys;
        for keys in &mut seeds {
            keys.rows.retain(|(key, _)| key.as_str() > behind);
        }
        order.give_keys(seeds, false);
        let mut after = behind.strip_prefix("photos/").unwrap_or_default().to_owned();
        let mut all = Vec::new();
        loop {
            match order.step() {
                OrderStep::Row(key, row) => {
                    assert_eq!(key, row.storage_key);
                    all.push(key);
                }
                OrderStep::Keys => {
                    let query = self.query(backend, KeyRange::After(after.clone(), page), per_key);
                    let found = self.store.rows(query).await.unwrap();
                    if let Some(last) = found.keys.last() {
                        last.path.strip_prefix("photos/").unwrap().clone_into(&mut after);
                    }
                    order.give_keys(found.keys, !found.more);
                }
                OrderStep::More(path, last) => {
                    let key = path.strip_prefix("photos/").unwrap().to_owned();
                    let StorageKey::Plain { blob, .. } = StorageKey::parse(&last) else { panic!("{last}") };
                    let mut query = self.query(backend, KeyRange::These(vec![key]), per_key);
                    query.after = Some((blob.version, blob.extent));
                    order.give_rows(self.store.rows(query).await.unwrap().keys.remove(0));
                }
                OrderStep::End => return all,
            }
        }
    }

    async fn kinds(&self, blobs: &[(String, BlobName)], young_us: i64) -> Vec<StrayKind> {
        let stray = |(storage_key, blob): &(String, BlobName)| Stray {
            storage_key: storage_key.clone(),
            blob: *blob,
        };
        let strays: Vec<Stray> = blobs.iter().map(stray).collect();
        self.store.strays(self.backend().await, &strays, young_us).await.unwrap()
    }

    fn settle(&self, key: &str, blob: BlobName, backend: BackendId, size: u64) -> SettleBlob {
        let of =
            ExtentOf { bucket: self.bucket, key: key.to_owned(), version: blob.version, extent: blob.extent };
        SettleBlob {
            of,
            r#gen: blob.r#gen,
            backend,
            storage_key: storage_key(key, blob),
            stored_size: size,
            backend_etag: None,
            backend_version: None,
            encoding: Some(Encoding::default()),
        }
    }

    async fn settled(&self, settle: SettleBlob) -> Outcome {
        self.store.submit(self.request(op(), Call::SettleBlob(Box::new(settle)))).await
    }

    fn import(&self, key: &str, foreign_key: &str, backend: BackendId) -> Call {
        Call::Import(Box::new(Import {
            bucket: self.bucket,
            key: key.to_owned(),
            backend,
            foreign_key: foreign_key.to_owned(),
            size: 9,
            etag: Etag::new("e"),
            backend_etag: Etag::new("e"),
            backend_version: None,
            modified: Timestamp(5),
            attributes: ObjectAttributes::default(),
        }))
    }

    async fn imported(&self, key: &str, foreign_key: &str, backend: BackendId) -> Outcome {
        self.store.submit(self.request(op(), self.import(key, foreign_key, backend))).await
    }

    async fn ask(&self, kind: RunKind, dry_run: bool) -> Result<Run, Refusal> {
        let backend = self.backend().await;
        self.store.ask(AskRun { backend, kind, dry_run, accept_losses: false }).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_the_order_of_their_storage_keys() {
    let world = World::new(&[None]).await;
    let backend = world.backend().await;
    world.sql.batch_execute("UPDATE buckets SET state = 'versioned', versioning = 'enabled'").await.unwrap();
    let mut expected = Vec::new();
    for key in ["a", "a.txt", "a~b", "a~~", "a/b", "b", "\u{e9}", "z"] {
        for _ in 0..3 {
            expected.push(storage_key(key, first(world.put(key, 3).await.0)));
        }
    }
    expected.sort_unstable();
    for (page, per_key) in [(1, 1), (3, 2), (100, 100)] {
        assert_eq!(world.in_order(backend, "", page, per_key).await, expected, "{page} {per_key}");
    }
    for at in [0, 4, 9, 20, 23] {
        assert_eq!(world.in_order(backend, &expected[at], 2, 2).await, expected[at + 1..], "{at}");
    }
    assert_eq!(world.in_order(backend, "photos/a~", 2, 2).await.len(), 24 - 6, "a.txt and a/b are before it");
    // Those of a deleted version are none of a run's.
    world.store.submit(world.delete(op(), "z")).await;
    assert_eq!(world.in_order(backend, "", 5, 5).await, expected, "it has a marker, and its versions still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_may_still_name_a_blob_does() {
    use StrayKind::{Named, Unborn, Unnamed, Young};

    let world = World::new(&[None]).await;
    let copy = world.put("copy", 5).await.0;
    let begun = world.begun(op(), "intent", 5).await.0;
    let queued = world.put("queued", 5).await.0;
    world.store.submit(world.delete(op(), "queued")).await;
    let named = [("copy", copy), ("intent", begun), ("queued", queued)];
    let mut blobs: Vec<_> = named.iter().map(|(key, v)| (storage_key(key, first(*v)), first(*v))).collect();
    // Another attempt at what is there, and a version that was never minted here.
    let another = BlobName { r#gen: Gen::of_worker(0).unwrap(), ..first(copy) };
    blobs.push((storage_key("copy", another), another));
    let unborn = first(VersionId::mint(1_000_000, 1));
    blobs.push((storage_key("copy", unborn), unborn));
    let kinds = world.kinds(&blobs, 0).await;
    assert_eq!(kinds, [Named, Named, Named, Unnamed, Unborn]);
    // A dead letter names it too.
    world
        .sql
        .batch_execute(
            "INSERT INTO cleanup_dlq SELECT id, kind, backend, storage_key, version, extent, gen, backend_version, size,
                 reason, uncertain, second_pass, attempts, last_error, queued FROM cleanup_queue;
             DELETE FROM cleanup_queue",
        )
        .await
        .unwrap();
    assert_eq!(world.kinds(&blobs, 0).await[2], Named);
    // Young until its number was noted so long ago.
    let day = 24 * 3_600_000_000;
    assert_eq!(world.kinds(&blobs[3..4], day).await, [Young], "nothing is noted yet");
    world.store.note_versions(day).await.unwrap();
    assert_eq!(world.kinds(&blobs[3..4], day).await, [Young], "noted just now");
    world.sql.batch_execute("UPDATE version_marks SET at = at - interval '25 hours'").await.unwrap();
    assert_eq!(world.kinds(&blobs[3..4], day).await, [Unnamed]);
    let late = first(world.put("late", 5).await.0);
    let late = BlobName { r#gen: Gen::of_worker(0).unwrap(), ..late };
    assert_eq!(world.kinds(&[(storage_key("late", late), late)], day).await, [Young]);
    world.store.note_versions(day).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM version_marks").await, 2);
    // The open intents of this test.
    world.sql.batch_execute("DELETE FROM intents; UPDATE backend_usage SET reserved = 0").await.unwrap();
    world.audit().await;
}

/// The journal asks for a day, whoever waits for orphans perhaps for three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_outlives_the_shortest_time_that_is_asked_for() {
    let world = World::new(&[None]).await;
    let version = world.put("k", 5).await.0;
    let stray = BlobName { r#gen: Gen::of_worker(0).unwrap(), ..first(version) };
    let blobs = [(storage_key("k", stray), stray)];
    let hour = 3_600_000_000;
    world.store.note_versions(24 * hour).await.unwrap();
    let old = "UPDATE version_marks SET at = date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '4 days';
               INSERT INTO version_marks (at, sequence)
               SELECT at + n * interval '1 hour', sequence + n FROM version_marks, generate_series(1, 5) AS n";
    world.sql.batch_execute(old).await.unwrap();
    world.store.note_versions(24 * hour).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM version_marks").await, 2, "that day's first, and now's");
    assert_eq!(world.kinds(&blobs, 72 * hour).await, [StrayKind::Unnamed]);
    assert_eq!(world.kinds(&blobs, 144 * hour).await, [StrayKind::Young], "nothing is noted of that time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_attached_queued_or_kept() {
    let world = World::copied(AckLevel::One, 2).await;
    let backends: Vec<BackendId> =
        world.store.newest().await.unwrap().backends.iter().map(|backend| backend.spec.id).collect();
    let version = world.put("k", 5).await.0;
    let another = BlobName { version, extent: Extent::ZERO, r#gen: Gen::of_worker(7).unwrap() };
    let settle = world.settle("k", another, backends[1], 5);
    let request = world.request(op(), Call::SettleBlob(Box::new(settle)));
    let attached = Outcome::BlobSettled(BlobFate::Attached);
    assert_eq!(world.store.submit(request.clone()).await, attached);
    assert_eq!(world.store.submit(request).await, attached, "a repeat");
    assert_eq!(world.count("SELECT count(*) FROM copies WHERE state = 'uncertain' AND gen <> 0").await, 1);
    let again = world.settle("k", another, backends[1], 5);
    assert_eq!(world.settled(again).await, Outcome::BlobSettled(BlobFate::Kept));
    let gone = first(VersionId::mint(1, 1));
    let orphan = world.settled(world.settle("gone", gone, backends[0], 11)).await;
    assert_eq!(orphan, Outcome::BlobSettled(BlobFate::Queued));
    let again = world.settled(world.settle("gone", gone, backends[0], 11)).await;
    assert_eq!(again, Outcome::BlobSettled(BlobFate::Kept), "it is queued already");
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE reason = 'orphaned'").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 1);
    world.audit().await;
    world.make_everything_due().await;
    let claim = world.one_run().await;
    let items = world.store.claim_cleanup(Claim { limit: 10, ..claim }).await.unwrap();
    assert_eq!(items.iter().filter(|item| item.entry.storage_key == storage_key("gone", gone)).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_of_a_bucket_that_is_gone_is_queued() {
    let world = World::new(&[None]).await;
    let gone = "INSERT INTO buckets (name, state, declared, gone_after)
                VALUES ('gone', 'gone', false, 7), ('photos', 'gone', false, 8), ('gone', 'gone', false, 9), ('who', 'gone', false, NULL)";
    world.sql.batch_execute(gone).await.unwrap();
    let found = world.store.gone_buckets().await.unwrap();
    let names: Vec<&str> = found.iter().map(|bucket| bucket.name.as_str()).collect();
    assert_eq!(names, ["gone"], "photos is somebody's again, and of the last one nobody knows");
    assert_eq!(found[0].until, 9);
    let last = world.count("SELECT max(id)::bigint FROM buckets WHERE name = 'gone'").await;
    assert_eq!(i64::from(found[0].id.0), last, "the last one of the name");
    let blob = first(VersionId::mint(1, 1));
    let mut settle = world.settle("k", blob, world.backend().await, 11);
    settle.of.bucket = found[0].id;
    settle.storage_key = StorageKey::format("gone", "k", blob);
    assert_eq!(world.settled(settle.clone()).await, Outcome::BlobSettled(BlobFate::Queued));
    assert_eq!(world.settled(settle).await, Outcome::BlobSettled(BlobFate::Kept), "it is queued already");
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_copy_is_counted_until_it_is_found_or_gone() {
    let world = World::new(&[None]).await;
    let backend = world.backend().await;
    let blob = first(world.put("k", 5).await.0);
    let of =
        ExtentOf { bucket: world.bucket, key: "k".to_owned(), version: blob.version, extent: blob.extent };
    let change = CopyChange::Mark(CopyState::Missing);
    let mark = ChangeCopy { of, backend, r#gen: blob.r#gen, change };
    let refused = world.store.submit(world.request(op(), Call::ChangeCopy(mark))).await;
    assert_eq!(code(&refused), ErrorCode::PreconditionFailed);
    let lost = LostCopy { bucket: world.bucket, key: "k".to_owned(), blob, backend };
    world.store.note_lost(vec![lost.clone()]).await.unwrap();
    world.store.note_lost(vec![lost.clone()]).await.unwrap();
    assert_eq!(world.store.lost_objects().await.unwrap(), 1);
    world.store.note_found(backend, vec![blob]).await.unwrap();
    assert_eq!(world.store.lost_objects().await.unwrap(), 0);
    world.store.note_lost(vec![lost]).await.unwrap();
    world.put("k", 6).await;
    assert_eq!(world.store.lost_objects().await.unwrap(), 0, "it was overwritten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_key_is_one_object_s() {
    let world = World::new(&[None]).await;
    let backend = world.backend().await;
    assert!(matches!(world.imported("cat", "cat", backend).await, Outcome::Committed { .. }));
    assert_eq!(code(&world.imported("dog", "cat", backend).await), ErrorCode::PreconditionFailed);
    assert_eq!(code(&world.imported("cat", "photos/cat", backend).await), ErrorCode::PreconditionFailed);
    assert_eq!(
        world.count("SELECT count(*) FROM copies WHERE state = 'uncertain' AND foreign_key = 'cat'").await,
        1
    );
    let candidate =
        |foreign: &str, key: &str| Candidate { foreign_key: foreign.to_owned(), key: key.to_owned() };
    let all = [candidate("cat", "cat"), candidate("photos/cat", "cat"), candidate("cow", "cow")];
    let kinds = world.store.candidates(backend, world.bucket, &all).await.unwrap();
    assert_eq!(kinds, [CandidateKind::Known, CandidateKind::KeyTaken, CandidateKind::New]);
    world.audit().await;
    // The blob goes with its object, and is not imported while it waits.
    world.store.submit(world.delete(op(), "cat")).await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE storage_key = 'cat'").await, 1);
    assert_eq!(code(&world.imported("cat", "cat", backend).await), ErrorCode::PreconditionFailed);
    world.audit().await;
}

/// Many at once, under two keys each: the index lets one of them through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_that_race_for_a_blob_leave_one_object() {
    let world = World::new(&[None]).await;
    let backend = world.backend().await;
    let tries = (0..8).map(|n| world.imported(if n % 2 == 0 { "one" } else { "two" }, "cat", backend));
    let outcomes = futures::future::join_all(tries).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed { .. })).count();
    assert_eq!((done, world.count("SELECT count(*) FROM objects").await), (1, 1), "{outcomes:?}");
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_has_one_run_which_is_carried_on_when_its_owner_dies() {
    let world = World::new(&[None]).await;
    world.put("k", 5).await;
    let run = world.ask(RunKind::Reconcile, false).await.unwrap();
    assert_eq!(world.ask(RunKind::Reconcile, false).await.unwrap().id, run.id, "who asks again joins");
    let import = RunKind::Import { bucket: world.bucket, prefix: String::new() };
    assert_eq!(world.ask(import.clone(), false).await.unwrap_err().code, ErrorCode::OperationAborted);
    assert_eq!(world.ask(RunKind::Reconcile, true).await.unwrap_err().code, ErrorCode::OperationAborted);
    let (one, two) = (world.one_run().await, world.one_run().await);
    let mut claimed = world.store.claim_run(one).await.unwrap().unwrap();
    assert_eq!((claimed.id, claimed.expected), (run.id, 1));
    assert_eq!(world.store.claim_run(two).await.unwrap(), None);
    claimed.cursor = "photos/k".to_owned();
    claimed.phase = RunPhase::Hashed;
    claimed.tally.listed = 3;
    assert!(world.store.save_run(one, &claimed).await.unwrap());
    let row = world.in_one_row(world.backend().await).await;
    world.store.gather_hashed(&claimed, row.clone()).await.unwrap();
    world.store.gather_hashed(&claimed, row.clone()).await.unwrap();
    assert_eq!(world.store.hashed_rows(&claimed, "", 10).await.unwrap(), row);
    // Its process ends.
    Sessions::close(&world.store, one.owner).await.unwrap();
    let taken = world.store.claim_run(two).await.unwrap().unwrap();
    assert_eq!(taken, claimed);
    assert!(!world.store.save_run(one, &claimed).await.unwrap(), "it is another's now");
    let done = Run { state: RunState::Done, ..taken };
    assert!(world.store.save_run(two, &done).await.unwrap());
    assert!(world.store.save_run(two, &done).await.unwrap(), "a repeat whose first reply was lost");
    assert_eq!(world.store.claim_run(two).await.unwrap(), None);
    assert_eq!(world.count("SELECT count(*) FROM reconcile_hashed").await, 0);
    // The next one begins anew; one that is due only after its time.
    assert_eq!(world.store.ask_due(3_600_000_000, &[]).await.unwrap(), 0);
    let next = world.ask(import, true).await.unwrap();
    assert!(next.id > run.id && next.cursor.is_empty() && next.tally.listed == 0);
    world.sql.batch_execute("UPDATE reconcile_runs SET state = 'failed', claimed_by = NULL").await.unwrap();
    assert_eq!(world.store.ask_due(3_600_000_000, &[]).await.unwrap(), 0, "an import is no reconcile");
    assert_eq!(world.store.ask_due(0, &[]).await.unwrap(), 1);
    assert_eq!(world.store.ask_due(0, &[]).await.unwrap(), 0, "it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_several_backends_begin_together_or_not_at_all() {
    let world = World::new(&[None, None]).await;
    let backends: Vec<BackendId> =
        world.store.newest().await.unwrap().backends.iter().map(|backend| backend.spec.id).collect();
    let ask = |backend, dry_run| AskRun { backend, kind: RunKind::Reconcile, dry_run, accept_losses: false };
    world.store.ask(ask(backends[1], true)).await.unwrap().unwrap();
    let both: Vec<AskRun> = backends.iter().map(|backend| ask(*backend, false)).collect();
    let refused = world.store.ask_all(both.clone()).await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::OperationAborted);
    assert_eq!(world.count("SELECT count(*) FROM reconcile_runs").await, 1, "the first one's was not begun");
    world.sql.batch_execute("UPDATE reconcile_runs SET state = 'failed'").await.unwrap();
    let begun = world.store.ask_all(both.clone()).await.unwrap().unwrap();
    assert_eq!(begun.into_iter().map(|run| run.ask).collect::<Vec<_>>(), both);
}

impl World {
    async fn in_one_row(&self, backend: BackendId) -> Vec<KnownCopy> {
        let page =
            self.store.rows(self.query(backend, KeyRange::After(String::new(), 10), 10)).await.unwrap();
        page.keys.into_iter().flat_map(|keys| keys.rows).map(|(_, row)| row).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_run_begins_where_the_marker_is_not_ours() {
    let world = World::new(&[None]).await;
    let spec = world.store.newest().await.unwrap().backends[0].spec.clone();
    world.store.detach(s3o_core::config::MarkerPlace::of(&spec)).await.unwrap();
    assert_eq!(world.ask(RunKind::Reconcile, false).await.unwrap_err().code, ErrorCode::PreconditionFailed);
    assert_eq!(world.store.ask_due(0, &[]).await.unwrap(), 0);
    let place = s3o_core::config::MarkerPlace::of(&spec);
    let seen = s3o_core::config::MarkerSeen { place, etag: s3o_types::EtagProof::Md5 };
    world.store.attach(seen).await.unwrap();
    world.store.drain(&spec.name).await.unwrap();
    let import = RunKind::Import { bucket: world.bucket, prefix: String::new() };
    assert_eq!(world.ask(import, false).await.unwrap_err().code, ErrorCode::PreconditionFailed);
    assert!(world.ask(RunKind::Reconcile, false).await.is_ok());
}
