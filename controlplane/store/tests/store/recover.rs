//! Keys of a database that was restored to an earlier point: what clients did since is newer than what was lost, and what
//! they were told in the lost time is true.

use s3o_core::call::{Begin, Call, Outcome};
use s3o_core::cleanup::Claim;
use s3o_core::journal::LogPlace;
use s3o_core::ports::{Ledger, Queues, Recovery, Restore, Sessions};
use s3o_core::restore::{FoundKey, FoundObject, Revived, UnnamedBlob};
use s3o_types::{BackendId, Conditions, Etag, ObjectAttributes, VersionId};
use uuid::Uuid;

use crate::restore_buckets::{copied, shipped};
use crate::support::{World, op};

/// Of all that [`World::commit`] writes.
const ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// What a recoverer has got so far.
struct Recover<'a> {
    world: &'a World,
    own: LogPlace,
}

impl<'a> Recover<'a> {
    /// Stages the database's own log, the lost records, and the blobs of the lost writes.
    async fn staged(
        world: &'a World,
        from: LogPlace,
        (lines, header): (Vec<String>, String),
        blobs: &[(&str, VersionId)],
    ) -> Self {
        let mut recover = Self { world, own: from };
        world.store.restore_begin().await.unwrap();
        recover.own().await;
        let before = world.store.restore_last_record().await.unwrap();
        world.store.restore_records(lines).await.unwrap();
        let last = world.store.restore_last_record().await.unwrap();
        let found = blobs.iter().map(|(key, version)| FoundKey {
            storage_key: s3o_types::StorageKey::format("photos", key, s3o_types::BlobName::first(*version)),
            size: 1,
            etag: Some(Etag::new(ETAG)),
        });
        world.store.restore_found(BackendId(1), found.collect()).await.unwrap();
        world.store.restore_staged(&header, &[(before, last)]).await.unwrap().unwrap();
        recover
    }

    async fn own(&mut self) {
        loop {
            let (upto, more) = self.world.store.restore_own(self.own).await.unwrap();
            self.own = upto;
            if !more {
                return;
            }
        }
    }

    async fn apply(&self, record: i64) {
        let mut after = (0, String::new());
        let store = &self.world.store;
        while let Some((last, _)) =
            store.restore_keys(&after, record, self.own, &[BackendId(1)]).await.unwrap()
        {
            after = last;
        }
    }

    async fn unnamed(&self) -> Vec<UnnamedBlob> {
        let nil = VersionId::from_uuid(Uuid::nil());
        self.world.store.restore_unnamed(nil, nil, 100).await.unwrap()
    }

    /// Everything that a recoverer does behind the staging.
    async fn end(&self) -> Vec<Revived> {
        self.end_with(false).await
    }

    /// The same; `by_id`: the journal has a gap.
    async fn end_with(&self, by_id: bool) -> Vec<Revived> {
        self.apply(0).await;
        let named = self.world.store.restore_last_record().await.unwrap();
        let mut revived = Vec::new();
        for blob in self.unnamed().await {
            let path = blob.storage_key.split_once('/').unwrap().1;
            let found = FoundObject {
                bucket_name: "photos".to_owned(),
                key: path.rsplit_once('~').unwrap().0.to_owned(),
                version: blob.version,
                size: blob.size,
                etag: Etag::new(ETAG),
                modified_us: 1,
                attributes: ObjectAttributes::default(),
            };
            revived.push(self.world.store.restore_revive(found, by_id).await.unwrap());
        }
        self.apply(named).await;
        revived
    }
}

/// The versions of a key, the newest first, and whether each is the current one.
async fn versions(world: &World, key: &str) -> Vec<(VersionId, bool)> {
    let sql = "
        SELECT version, is_current FROM (
            SELECT key, seq, version, true AS is_current FROM objects
            UNION ALL SELECT key, seq, version, false FROM object_versions WHERE NOT delete_marker
        ) AS v WHERE key = $1 ORDER BY seq DESC";
    let rows = world.sql.query(sql, &[&key]).await.unwrap();
    rows.iter().map(|row| (VersionId::from_uuid(row.get(0)), row.get(1))).collect()
}

async fn end_of_log(world: &World) -> LogPlace {
    let (_, _) = shipped(world).await;
    let row =
        world.sql.query_one("SELECT xid::text, n FROM changes ORDER BY xid DESC, n DESC LIMIT 1", &[]).await;
    let row = row.unwrap();
    LogPlace { xid: row.get::<_, String>(0).parse().unwrap(), n: row.get(1) }
}

async fn delete(world: &World, key: &str) {
    let outcome = world.store.submit(world.delete(op(), key)).await;
    assert!(matches!(outcome, Outcome::Deleted { .. }), "{outcome:?}");
}

#[tokio::test]
async fn what_clients_deleted_since_stays_deleted() {
    let world = World::new(&[None]).await;
    for key in ["before", "meanwhile", "unshipped"] {
        world.put(key, 1).await;
    }
    let from = end_of_log(&world).await;
    let (lost, now) = copied(world).await;
    let (meanwhile, _) = lost.put("meanwhile", 1).await;
    let (before, _) = lost.put("before", 1).await;
    let (kept, _) = lost.put("kept", 1).await;
    let journal = shipped(&lost).await;
    let (unshipped, _) = lost.put("unshipped", 1).await;
    let (also_kept, _) = lost.put("also-kept", 1).await;

    now.store.enter_recovery("a test").await.unwrap();
    for key in ["before", "unshipped"] {
        delete(&now, key).await;
    }
    let blobs = [
        ("meanwhile", meanwhile),
        ("before", before),
        ("kept", kept),
        ("unshipped", unshipped),
        ("also-kept", also_kept),
    ];
    let recover = Recover::staged(&now, from, journal, &blobs).await;
    // While all backends are listed, and nobody has staged it.
    delete(&now, "meanwhile").await;
    recover.end().await;
    for key in ["before", "meanwhile", "unshipped"] {
        assert_eq!(versions(&now, key).await, [], "{key}");
    }
    assert_eq!(versions(&now, "kept").await, [(kept, true)]);
    assert_eq!(versions(&now, "also-kept").await, [(also_kept, true)]);
}

#[tokio::test]
async fn a_version_that_no_record_names_is_older_than_what_was_written_since() {
    let world = World::new(&[None]).await;
    let enable = "UPDATE buckets SET state = 'versioned', versioning = 'enabled'";
    world.sql.batch_execute(enable).await.unwrap();
    let (first, _) = world.put("k", 1).await;
    let from = end_of_log(&world).await;
    let (lost, now) = copied(world).await;
    let journal = shipped(&lost).await;
    let (second, _) = lost.put("k", 1).await;
    let (third, _) = lost.put("k", 1).await;

    now.store.enter_recovery("a test").await.unwrap();
    let (since, _) = now.put("k", 1).await;
    let recover = Recover::staged(&now, from, journal, &[("k", second), ("k", third)]).await;
    assert_eq!(recover.end().await, [Revived::Staged, Revived::Staged]);
    let expected = [(since, true), (third, false), (second, false), (first, false)];
    assert_eq!(versions(&now, "k").await, expected);
    // What is written from now on is newer still.
    let (last, _) = now.put("k", 1).await;
    assert_eq!(versions(&now, "k").await[0], (last, true));
}

/// What the journal has but for the records of some versions.
async fn without(lost: &World, missing: &[VersionId]) -> (Vec<String>, String) {
    let (mut lines, header) = shipped(lost).await;
    let missing: Vec<String> = missing.iter().map(|version| version.to_uuid().to_string()).collect();
    lines.retain(|line| !missing.iter().any(|version| line.contains(version)));
    (lines, header)
}

#[tokio::test]
async fn versions_of_a_gap_in_the_journal_stand_by_their_ids() {
    let world = World::new(&[None]).await;
    let enable = "UPDATE buckets SET state = 'versioned', versioning = 'enabled'";
    world.sql.batch_execute(enable).await.unwrap();
    let (first, _) = world.put("k", 1).await;
    let from = end_of_log(&world).await;
    let (lost, now) = copied(world).await;
    let mut put = Vec::new();
    for _ in 0..12 {
        put.push(lost.put("k", 1).await.0);
    }
    // More than any halving of what is left between two numbers has room for.
    let mut missing = put.clone();
    missing.retain(|version| *version != put[2] && *version != put[10]);
    let journal = without(&lost, &missing).await;

    now.store.enter_recovery("a test").await.unwrap();
    let (since, _) = now.put("k", 1).await;
    let blobs: Vec<(&str, VersionId)> = missing.iter().map(|version| ("k", *version)).collect();
    let recover = Recover::staged(&now, from, journal, &blobs).await;
    assert_eq!(recover.end_with(true).await, vec![Revived::Staged; 10]);
    let newest_first = [since].into_iter().chain(put.iter().rev().copied()).chain([first]);
    let expected: Vec<(VersionId, bool)> = newest_first.map(|version| (version, version == since)).collect();
    assert_eq!(versions(&now, "k").await, expected);
}

/// Two commits of a key that follow each other have numbers that do.
#[tokio::test]
async fn a_version_for_which_there_is_no_number_in_a_gap_is_older() {
    let world = World::new(&[None]).await;
    let enable = "UPDATE buckets SET state = 'versioned', versioning = 'enabled'";
    world.sql.batch_execute(enable).await.unwrap();
    let (first, _) = world.put("k", 1).await;
    let from = end_of_log(&world).await;
    let (lost, now) = copied(world).await;
    let ops = [op(), op(), op()];
    let mut begun = Vec::new();
    for op in ops {
        begun.push(lost.begun(op, "k", 1).await);
    }
    let mut numbers = [0; 3];
    for n in [1, 0, 2] {
        match lost.store.submit(lost.commit(ops[n], "k", 1, &begun[n])).await {
            Outcome::Committed { seq, .. } => numbers[n] = seq.0,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers[2], numbers[0] + 1, "nothing goes between");
    let journal = without(&lost, &[begun[1].0]).await;

    now.store.enter_recovery("a test").await.unwrap();
    let recover = Recover::staged(&now, from, journal, &[("k", begun[1].0)]).await;
    assert_eq!(recover.end_with(true).await, [Revived::Staged]);
    let expected = [(begun[2].0, true), (begun[0].0, false), (begun[1].0, false), (first, false)];
    assert_eq!(versions(&now, "k").await, expected);
}

async fn begun_if_absent(world: &World, key: &str) -> (s3o_types::Op, VersionId) {
    let op = op();
    let mut begin = Begin { key: key.to_owned(), ..bare(world) };
    begin.conditions = Conditions { if_absent: true, if_match: None };
    match world.store.submit(world.request(op, Call::Begin(begin))).await {
        Outcome::Begun { version, .. } => (op, version),
        other => panic!("{other:?}"),
    }
}

fn bare(world: &World) -> Begin {
    match world.begin(op(), "", 1).call {
        Call::Begin(begin) => begin,
        other => panic!("{other:?}"),
    }
}

/// It was begun before the point, and its commit was lost: the intent is there, and says nothing of what came of it.
#[tokio::test]
async fn a_write_whose_commit_was_lost_is_there_if_its_condition_holds() {
    let world = World::new(&[None]).await;
    let (_, won) = begun_if_absent(&world, "won").await;
    let (_, refused) = begun_if_absent(&world, "refused").await;
    let (under_way, live) = begun_if_absent(&world, "under-way").await;
    let (other, _) = world.put("refused", 1).await;
    let old = "UPDATE intents SET begun = begun - interval '1 hour'";
    world.sql.batch_execute(old).await.unwrap();
    let from = end_of_log(&world).await;
    let session = world.session;
    let (lost, now) = copied(world).await;
    let journal = shipped(&lost).await;

    now.store.enter_recovery("a test").await.unwrap();
    now.store.renew(session, vec![under_way.id]).await.unwrap();
    let young = "UPDATE intents SET begun = now() WHERE key = 'won'";
    now.sql.batch_execute(young).await.unwrap();
    assert!(now.store.restore_undecided().await.unwrap(), "the session may not have said it yet");
    now.sql.batch_execute(old).await.unwrap();
    let (_, since) = begun_if_absent(&now, "since").await;
    let blobs = [("won", won), ("refused", refused), ("under-way", live), ("since", since)];
    assert!(!now.store.restore_undecided().await.unwrap(), "they were begun long ago, or since");
    let recover = Recover::staged(&now, from, journal, &blobs).await;
    assert_eq!(recover.end().await, [Revived::Staged]);
    assert_eq!(versions(&now, "won").await, [(won, true)]);
    assert_eq!(versions(&now, "refused").await, [(other, true)]);
    assert_eq!(versions(&now, "under-way").await, [], "its data plane goes on with it");
    assert_eq!(versions(&now, "since").await, []);
    let left = "SELECT count(*) FROM intents WHERE key IN ('won', 'refused', 'under-way', 'since')";
    assert_eq!(now.count(left).await, 3, "the one that is there is settled");
}

/// A bucket that seemed to be empty, and that its owner deleted: what was written last is in it, and it stays.
#[tokio::test]
async fn a_bucket_is_kept_for_what_no_record_names() {
    let world = World::new(&[None]).await;
    crate::restore_buckets::change(&world, "full", s3o_core::bucket::Wanted::Create { locks: false }).await;
    let from = end_of_log(&world).await;
    let (mut lost, now) = copied(world).await;
    let journal = shipped(&lost).await;
    lost.bucket = crate::restore_buckets::id_of(&lost, "full").await;
    let (written, _) = lost.put("k", 1).await;

    now.store.enter_recovery("a test").await.unwrap();
    crate::restore_buckets::change(&now, "full", s3o_core::bucket::Wanted::Delete).await;
    let header = journal.1.clone();
    let recover = Recover::staged(&now, from, journal, &[]).await;
    let found = FoundObject {
        bucket_name: "full".to_owned(),
        key: "k".to_owned(),
        version: written,
        size: 1,
        etag: Etag::new(ETAG),
        modified_us: 1,
        attributes: ObjectAttributes::default(),
    };
    let nowhere = FoundObject { bucket_name: "nowhere".to_owned(), ..found.clone() };
    assert_eq!(now.store.restore_revive(found, false).await.unwrap(), Revived::Staged);
    assert_eq!(now.store.restore_revive(nowhere, false).await.unwrap(), Revived::NoBucket);
    recover.apply(0).await;
    let merged = now.store.restore_buckets_end(&header).await.unwrap();
    assert!(merged.kept.iter().any(|why| why.starts_with("full: ")), "{merged:?}");
    assert_eq!(versions(&now, "k").await, [(written, true)]);
    assert_eq!(now.count("SELECT count(*) FROM buckets WHERE name = 'full' AND state = 'active'").await, 1);
}

#[tokio::test]
async fn nothing_is_deleted_before_the_journal_was_looked_at() {
    let world = World::new(&[None]).await;
    world.put("k", 1).await;
    delete(&world, "k").await;
    let owner = world.owner().await;
    let claim = || Claim { owner, lasts_us: 1, limit: 10, due_for_us: 0 };
    // As after a start of the server.
    world
        .sql
        .batch_execute("UPDATE settings SET value = '0' WHERE name = 'journal_looked_at'")
        .await
        .unwrap();
    world.make_everything_due().await;
    assert_eq!(world.store.claim_cleanup(claim()).await.unwrap(), []);
    let start = world.store.server_start().await.unwrap();
    world.store.journal_looked_at(&start).await.unwrap();
    assert_eq!(world.store.claim_cleanup(claim()).await.unwrap().len(), 1);
    world.store.enter_recovery("a test").await.unwrap();
    assert_eq!(world.store.claim_cleanup(claim()).await.unwrap(), []);
}

/// A database that is put back once more while the mode is on is behind what was written in it.
#[tokio::test]
async fn every_other_database_leaves_a_gap() {
    let world = World::new(&[None]).await;
    world.store.enter_recovery("a test").await.unwrap();
    let (_, first) = world.put("k", 1).await;
    let another =
        "UPDATE settings SET value = jsonb_set(value, '{timeline}', '\"00000000\"') WHERE name = 'database'";
    world.sql.batch_execute(another).await.unwrap();
    let again = world.another_store().await;
    again.recovery().await.unwrap();
    let (_, second) = world.put("k", 1).await;
    assert!(second - first >= 1 << 32, "{first} {second}");
    again.close().await;
}
