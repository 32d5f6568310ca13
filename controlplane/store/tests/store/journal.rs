//! The journal on a real database: what is read for it, and that a database made from it is the one that was.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{KEY, World, database, op, raw};
use s3o_core::call::{Call, Delete, Outcome, SetTags};
use s3o_core::cleanup::Claim;
use s3o_core::journal::{JournalStep, LogPlace, RowPlace, StoredFile};
use s3o_core::ports::{Journal, Ledger, Queues, Recovery, Restore, Sessions, Versions};
use s3o_core::restore::{FoundKey, KnownBackend};
use s3o_core::session::Hello;
use s3o_core::versions::SetVersioning;
use s3o_store::{Store, StoreOptions};
use s3o_types::{BackendId, Conditions, VersionId, VersionRef, Versioning};
use tokio_postgres::Client;
use uuid::Uuid;

const ROWS: &str = "
    SELECT concat_ws(' ', bucket, key, seq, version, size, etag, modified, attributes, tags, is_null, parts, retain_mode,
                     retain_until, COALESCE(legal_hold::text, 'off'), 'current') AS row FROM objects
    UNION ALL
    SELECT concat_ws(' ', bucket, key, seq, version, size, etag, modified, attributes, tags, is_null, parts, retain_mode,
                     retain_until, COALESCE(legal_hold::text, 'off'), delete_marker)
    FROM object_versions
    UNION ALL
    SELECT concat_ws(' ', 'bucket', id, name, state, versioning, object_lock) FROM buckets ORDER BY row";

async fn world() -> World {
    let world = World::new(&[None]).await;
    world.sql.batch_execute("UPDATE sessions SET features = '{versions}'").await.unwrap();
    let grant = "INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) VALUES ($1, $2, '', 16)";
    world.sql.execute(grant, &[&KEY, &world.bucket.0]).await.unwrap();
    world
}

pub(crate) async fn rows(sql: &Client) -> Vec<String> {
    sql.query(ROWS, &[]).await.unwrap().iter().map(|row| row.get("row")).collect()
}

/// All that there is behind a place. Transactions of other tests, on the same server, may hold some of it back for a moment.
pub(crate) async fn ship_all(world: &World, from: LogPlace) -> (Vec<String>, LogPlace) {
    let (mut lines, mut upto) = (Vec::new(), from);
    for _ in 0..600 {
        let (more, place) = ship(&world.store, upto).await;
        lines.extend(more);
        upto = place;
        let left =
            format!("SELECT count(*) FROM changes WHERE (xid, n) > ('{}'::xid8, {})", upto.xid, upto.n);
        if world.count(&left).await == 0 {
            return (lines, upto);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a transaction has been open for half a minute");
}

/// What is to be read behind a place, a few records in each read.
async fn ship(store: &Store, from: LogPlace) -> (Vec<String>, LogPlace) {
    let (mut lines, mut upto) = (Vec::new(), from);
    loop {
        let page = store.changes(upto, 7).await.unwrap();
        lines.extend(page.lines);
        upto = page.upto;
        if !page.more {
            return (lines, upto);
        }
    }
}

fn claim(owner: Uuid) -> Claim {
    Claim { owner, lasts_us: 60_000_000, limit: 1, due_for_us: 0 }
}

/// A small generator: histories are the same in each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One call of a client, whatever comes of it.
async fn call(world: &World, dice: &mut Dice, known: &mut Vec<(String, VersionRef)>) {
    let (bucket, key) = (world.bucket, format!("k{}", dice.roll(4)));
    let outcome = match dice.roll(10) {
        0..5 => {
            let (op, size) = (op(), dice.roll(100));
            let begun = world.begun(op, &key, size).await;
            world.store.submit(world.commit(op, &key, size, &begun)).await
        }
        5..7 => {
            let delete = Delete {
                bucket,
                key: key.clone(),
                conditions: Conditions::default(),
                version: None,
                bypass_governance: false,
            };
            world.store.submit(world.request(op(), Call::Delete(delete))).await
        }
        7 if !known.is_empty() => {
            let (key, version) = known.swap_remove(usize::try_from(dice.roll(known.len() as u64)).unwrap());
            let delete = Delete {
                bucket,
                key,
                conditions: Conditions::default(),
                version: Some(version),
                bypass_governance: false,
            };
            world.store.submit(world.request(op(), Call::Delete(delete))).await
        }
        8 => {
            let versioning = if dice.roll(2) == 0 { Versioning::Enabled } else { Versioning::Suspended };
            let set = SetVersioning { op: op(), access_key: KEY.to_owned(), bucket, wanted: versioning };
            world.store.set_versioning(set).await.unwrap();
            return;
        }
        _ => {
            let tags = BTreeMap::from([("t".to_owned(), dice.roll(9).to_string())]);
            let set = SetTags { bucket, key: key.clone(), tags, version: None };
            world.store.submit(world.request(op(), Call::SetTags(set))).await
        }
    };
    if let Outcome::Committed { version: Some(version), .. }
    | Outcome::Deleted { version: Some(version), .. } = outcome
    {
        known.push((key, version));
    }
}

/// An empty database is filled with records, and says what its rows are then.
pub(crate) async fn rebuilt(header: &str, lines: Vec<String>) -> Vec<String> {
    rebuilt_of(header, lines, Vec::new(), ROWS).await
}

/// The same with blobs that are found on its backend, and other rows: one text each.
pub(crate) async fn rebuilt_of(
    header: &str,
    lines: Vec<String>,
    found: Vec<FoundKey>,
    sql: &str,
) -> Vec<String> {
    let url = database().await;
    let store = Store::connect(StoreOptions::new(&url)).await.unwrap();
    let (endpoint, bucket) = ("http://127.0.0.1:9000".to_owned(), "real".to_owned());
    let backends = vec![KnownBackend { id: BackendId(1), name: "b0".to_owned(), endpoint, bucket }];
    store.restore_identity(header, backends.clone()).await.unwrap().unwrap();
    assert!(store.restore_identity(header, backends).await.unwrap().is_err(), "it is not empty any more");
    store.restore_begin().await.unwrap();
    store.restore_records(lines).await.unwrap();
    store.restore_found(BackendId(1), found).await.unwrap();
    store.restore_staged(header, &[(0, i64::MAX)]).await.unwrap().unwrap();
    let mut after = (0, String::new());
    while let Some((last, _)) = store.restore_keys(&after, 0, LogPlace::default(), &[]).await.unwrap() {
        after = last;
    }
    store.restore_end(VersionId::from_uuid(Uuid::nil()), Vec::new()).await.unwrap();
    let rows = raw(&url).await.query(sql, &[]).await.unwrap();
    store.close().await;
    rows.iter().map(|row| row.get("row")).collect()
}

#[tokio::test]
async fn a_database_made_from_the_log_is_the_one_that_was() {
    for seed in 0..4 {
        let world = world().await;
        let (mut dice, mut known) = (Dice(seed), Vec::new());
        for _ in 0..120 {
            call(&world, &mut dice, &mut known).await;
        }
        let (lines, upto) = ship_all(&world, LogPlace::default()).await;
        let header = world.store.journal_header(upto).await.unwrap();
        let expected = rows(&world.sql).await;
        assert_eq!(rebuilt(&header, lines.clone()).await, expected, "seed {seed}");
        // Every record twice is as good as once.
        let twice = lines.iter().chain(&lines).cloned().collect();
        assert_eq!(rebuilt(&header, twice).await, expected, "seed {seed}, twice");
    }
}

/// Pages of it are read between the calls of clients, and the log is shipped from where it was when it began.
#[tokio::test]
async fn a_snapshot_that_was_read_meanwhile_and_the_log_behind_it_make_the_same() {
    for seed in 10..14 {
        let world = world().await;
        let (mut dice, mut known) = (Dice(seed), Vec::new());
        for _ in 0..60 {
            call(&world, &mut dice, &mut known).await;
        }
        let (_, from) = ship_all(&world, LogPlace::default()).await;
        let (mut lines, mut place) = (Vec::new(), RowPlace::start());
        loop {
            let read = world.store.snapshot_rows(&place, 3).await.unwrap();
            lines.extend(read.lines);
            let Some(upto) = read.upto else { break };
            place = upto;
            for _ in 0..2 {
                call(&world, &mut dice, &mut known).await;
            }
        }
        let (log, upto) = ship_all(&world, from).await;
        lines.extend(log);
        let header = world.store.journal_header(upto).await.unwrap();
        assert_eq!(rebuilt(&header, lines).await, rows(&world.sql).await, "seed {seed}");
    }
}

#[tokio::test]
async fn what_may_be_preceded_by_an_open_transaction_is_not_read() {
    let world = world().await;
    world.put("before", 1).await;
    let (first, upto) = ship_all(&world, LogPlace::default()).await;
    assert_eq!(first.len(), 1);
    let open = raw(&world.url).await;
    open.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    world.put("after", 1).await;
    assert_eq!(ship(&world.store, upto).await, (vec![], upto));
    open.batch_execute("COMMIT").await.unwrap();
    let (then, _) = ship_all(&world, upto).await;
    assert!(then.len() == 1 && then[0].contains("after"), "{then:?}");
}

#[tokio::test]
async fn the_lag_is_the_age_of_the_oldest_change_that_is_not_shipped() {
    const HOUR_US: u64 = 60 * 60 * 1_000_000;
    let world = world().await;
    world.put("old", 1).await;
    world.sql.batch_execute("UPDATE changes SET at = now() - interval '1 hour'").await.unwrap();
    world.put("new", 1).await;
    let lag = world.store.journal_lag_us().await.unwrap();
    assert!((HOUR_US..2 * HOUR_US).contains(&lag), "that of the oldest, not the newest: {lag}");
    let shipped = |which: &str| {
        format!("UPDATE journal SET (xid, n) = (SELECT xid, n FROM changes WHERE key = '{which}')")
    };
    world.sql.batch_execute(&shipped("old")).await.unwrap();
    let lag = world.store.journal_lag_us().await.unwrap();
    assert!(lag < HOUR_US, "what is shipped is no more asked for: {lag}");
    world.sql.batch_execute(&shipped("new")).await.unwrap();
    assert_eq!(world.store.journal_lag_us().await.unwrap(), 0, "nothing is behind");
}

#[tokio::test]
async fn a_server_says_which_standbys_it_waits_for() {
    let world = world().await;
    assert_eq!(world.store.synchronous_standbys().await.unwrap(), "", "that of the tests has none");
}

#[tokio::test]
async fn open_writes_keep_the_mark_below_them() {
    let world = world().await;
    world.put("done", 1).await;
    let mark = "INSERT INTO version_marks (at, sequence)
                SELECT now() - interval '1 hour', last_value FROM version_seq";
    world.sql.batch_execute(mark).await.unwrap();
    world.sql.batch_execute("UPDATE journal SET complete = 1").await.unwrap();
    let (begun, _) = world.begun(op(), "open", 5).await;
    world.put("later", 1).await;
    let (_, upto) = ship_all(&world, LogPlace::default()).await;
    let header = world.store.journal_header(upto).await.unwrap();
    let open = header.split("\"open\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let open: Uuid = open.parse().unwrap();
    assert!(open <= begun.to_uuid(), "{open} {begun}");
    assert!(open > Uuid::nil(), "what was given up an hour ago is below it");
}

#[tokio::test]
async fn steps_are_the_claims_owners() {
    let world = world().await;
    let (ours, theirs) = (Uuid::new_v4(), Uuid::new_v4());
    for session in [ours, theirs] {
        let hello = Hello { session, name: "cp".to_owned(), version: "1".to_owned(), features: vec![] };
        world.store.open(hello).await.unwrap();
    }
    let state = world.store.claim_journal(claim(ours)).await.unwrap().unwrap();
    assert_eq!(state.segment, 1);
    assert!(world.store.claim_journal(claim(theirs)).await.unwrap().is_none());
    Sessions::close(&world.store, ours).await.unwrap();
    assert!(world.store.claim_journal(claim(theirs)).await.unwrap().is_some(), "its owner is gone");
    world.store.release_journal(theirs).await.unwrap();
    assert!(world.store.claim_journal(claim(ours)).await.unwrap().is_some());
    let place = LogPlace { xid: 5, n: 7 };
    let step = |owner, segment, step| world.store.journal_step(owner, segment, step);
    assert!(!step(theirs, 1, JournalStep::Shipped(place)).await.unwrap());
    assert!(step(ours, 1, JournalStep::Shipped(place)).await.unwrap());
    assert!(!step(ours, 1, JournalStep::Shipped(place)).await.unwrap(), "its segment is the second by now");
    for next in [
        JournalStep::SnapshotBegun,
        JournalStep::SnapshotPiece("f".to_owned(), RowPlace { bucket: 1, key: "k".to_owned(), seq: 9 }),
        JournalStep::SnapshotRead,
    ] {
        assert!(step(ours, 2, next).await.unwrap());
    }
    world.store.release_journal(ours).await.unwrap();
    let state = world.store.claim_journal(claim(theirs)).await.unwrap().unwrap();
    assert_eq!((state.shipped, state.segment), (place, 2));
    let open = state.snapshot.unwrap();
    assert!(open.is_read && open.number == 2 && open.files == ["f"] && open.upto.seq == 9);
    assert!(step(theirs, 2, JournalStep::SnapshotComplete).await.unwrap());
    let state = world.store.claim_journal(claim(theirs)).await.unwrap().unwrap();
    assert!(state.snapshot.is_none() && state.complete.is_some_and(|(number, _)| number == 2));
}

#[tokio::test]
async fn files_count_as_used_and_old_ones_are_to_be_deleted() {
    let world = world().await;
    let file = |number: u64| StoredFile {
        backend: BackendId(1),
        storage_key: format!(".s3o/journal/{number}"),
        number,
        bytes: 10,
    };
    for number in 1..4 {
        world.store.note_journal_file(&file(number)).await.unwrap();
        world.store.note_journal_file(&file(number)).await.unwrap();
    }
    world.store.journal_file_stored(BackendId(1), &file(1).storage_key).await.unwrap();
    assert_eq!(world.count("SELECT sum(used)::bigint FROM backend_usage").await, 30);
    world.audit().await;
    world.sql.batch_execute("UPDATE journal SET complete_before = 2").await.unwrap();
    world
        .sql
        .batch_execute("UPDATE journal_files SET noted = now() - interval '2 hours' WHERE number = 3")
        .await
        .unwrap();
    let chores = world.store.journal_chores(2).await.unwrap();
    assert_eq!(chores.delete, [file(1), file(3)], "one that is too old, and one whose PUT never came back");
    world.store.journal_file_gone(BackendId(1), &file(1).storage_key).await.unwrap();
    assert_eq!(world.count("SELECT sum(used)::bigint FROM backend_usage").await, 20);
    world.audit().await;
}

/// A tick that stands still while another process takes the journal over deletes nothing that it looked up before.
#[tokio::test]
async fn a_file_is_condemned_by_whoever_has_the_journal() {
    let world = world().await;
    let (ours, theirs) = (world.owner().await, world.owner().await);
    let file = |number: u64| StoredFile {
        backend: BackendId(1),
        storage_key: format!(".s3o/journal/{number}"),
        number,
        bytes: 10,
    };
    for number in 1..4 {
        world.store.note_journal_file(&file(number)).await.unwrap();
        world.store.journal_file_stored(BackendId(1), &file(number).storage_key).await.unwrap();
    }
    world.sql.batch_execute("UPDATE journal SET complete_before = 3").await.unwrap();
    world.store.claim_journal(claim(ours)).await.unwrap().unwrap();
    assert_eq!(world.store.journal_chores(2).await.unwrap().delete, [file(1), file(2)]);
    let condemn = async |owner, number| {
        let key = file(number).storage_key;
        world.store.condemn_journal_file(owner, BackendId(1), &key).await.unwrap()
    };
    assert!(condemn(ours, 1).await);
    Sessions::close(&world.store, ours).await.unwrap();
    world.store.claim_journal(claim(theirs)).await.unwrap().unwrap();
    assert!(!condemn(ours, 2).await, "another process has the journal");
    assert_eq!(world.count("SELECT count(*) FROM journal_files WHERE stored").await, 2);
    assert!(!condemn(theirs, 3).await, "it is needed");
    world.store.enter_recovery("a test").await.unwrap();
    assert!(!condemn(theirs, 2).await, "nothing is deleted in the recovery mode");
    world.store.restore_begin().await.unwrap();
    world.store.end_recovery().await.unwrap();
    assert!(condemn(theirs, 2).await);
    // Whose DELETE did not come about is deleted by whoever comes next.
    assert_eq!(world.store.journal_chores(2).await.unwrap().delete, [file(1), file(2)]);
    for number in 1..3 {
        assert!(condemn(theirs, number).await);
        world.store.journal_file_gone(BackendId(1), &file(number).storage_key).await.unwrap();
    }
    assert!(!condemn(theirs, 1).await, "it is gone");
    assert_eq!(world.count("SELECT sum(used)::bigint FROM backend_usage").await, 10);
    world.audit().await;
}

#[tokio::test]
async fn another_database_than_was_noted_turns_the_recovery_mode_on() {
    let world = world().await;
    world.put("k", 1).await;
    world.store.submit(world.delete(op(), "k")).await;
    world.make_everything_due().await;
    assert_eq!(world.store.recovery().await.unwrap(), None);
    let numbers = || world.count("SELECT last_value FROM change_seq");
    let before = numbers().await;
    let other = "UPDATE settings SET value = value || '{\"timeline\": \"other\"}' WHERE name = 'database'";
    world.sql.batch_execute(other).await.unwrap();
    let reconnected = world.another_store().await;
    assert!(reconnected.recovery().await.unwrap().unwrap().contains("other"));
    assert!(numbers().await > before + (1 << 31), "what was lost had numbers, too");
    let cleanup = Claim { limit: 10, ..claim(Uuid::new_v4()) };
    assert!(reconnected.claim_cleanup(cleanup).await.unwrap().is_empty(), "nothing is deleted");
    let after = numbers().await;
    world.another_store().await;
    assert_eq!(numbers().await, after, "once");
    reconnected.restore_begin().await.unwrap();
    reconnected.end_recovery().await.unwrap();
    assert_eq!(reconnected.claim_cleanup(cleanup).await.unwrap().len(), 1);
}
