//! Object Lock on a real database: locks travel with their rows, are in the journal, and what they keep stays.

use crate::journal::{Dice, rebuilt, rows, ship_all};
use crate::restore_buckets::{copied, merge, shipped};
use crate::support::{KEY, World, declared, op};
use s3o_core::bucket::{BucketChange, Wanted};
use s3o_core::call::{Call, Delete, Expire, Expiring, LockChange, Outcome, Request, SetLock};
use s3o_core::journal::{LogPlace, RowPlace};
use s3o_core::lifecycle::{Phase, Place};
use s3o_core::object::{Locate, ObjectRow, Want};
use s3o_core::ports::{Buckets, Configs, Journal, Ledger, Lifecycle, Recovery, Versions};
use s3o_core::versions::SetVersioning;
use s3o_types::{
    BucketLock, Conditions, DefaultRetention, ErrorCode, LifecycleRule, ObjectLock, Retention, RetentionMode,
    RetentionPeriod, Timestamp, VersionRef, Versioning,
};
use uuid::Uuid;

/// Far from now: 2100-01-01.
const FAR: Timestamp = Timestamp(4_102_444_800_000_000);

async fn change(world: &World, wanted: Wanted) -> Result<i64, ErrorCode> {
    let name = "photos".parse().unwrap();
    let change = BucketChange { op: Uuid::now_v7(), access_key: KEY.to_owned(), name, wanted };
    world.store.change(change).await.unwrap().map_err(|refusal| refusal.code)
}

async fn turn(world: &World, wanted: Versioning) -> Result<(), ErrorCode> {
    let set = SetVersioning { op: op(), access_key: KEY.to_owned(), bucket: world.bucket, wanted };
    world.store.set_versioning(set).await.map_err(|refusal| refusal.code)
}

/// The key may configure the bucket; its lock is to be asked for.
async fn plain() -> World {
    let world = World::new(&[None]).await;
    world.sql.batch_execute("UPDATE sessions SET features = '{versions}'").await.unwrap();
    grant(&world, 16).await;
    world
}

async fn grant(world: &World, rights: i16) {
    let grant = "INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) VALUES ($1, $2, '', $3)
                 ON CONFLICT (access_key_id, bucket, prefix) DO UPDATE SET rights = excluded.rights";
    world.sql.execute(grant, &[&KEY, &world.bucket.0, &rights]).await.unwrap();
}

async fn locking(lock: BucketLock) -> World {
    let world = plain().await;
    turn(&world, Versioning::Enabled).await.unwrap();
    change(&world, Wanted::Lock(lock)).await.unwrap();
    world
}

fn retained(mode: RetentionMode, until: Timestamp) -> ObjectLock {
    ObjectLock { retention: Some(Retention { mode, until }), legal_hold: None }
}

async fn put(world: &World, key: &str, lock: ObjectLock) -> Outcome {
    let op = op();
    let begun = world.begun(op, key, 3).await;
    let Call::Commit(mut commit) = world.commit(op, key, 3, &begun).call else { panic!("a commit") };
    commit.attributes.lock = lock;
    world.store.submit(world.request(op, Call::Commit(commit))).await
}

async fn find(world: &World, key: &str, version: Option<VersionRef>) -> ObjectRow {
    let query = Locate { bucket: world.bucket, key: key.to_owned(), version, want: Want::All };
    world.store.locate(query).await.unwrap().found().unwrap().object
}

fn told(outcome: &Outcome) -> VersionRef {
    match outcome {
        Outcome::Committed { version: Some(version), .. }
        | Outcome::Deleted { version: Some(version), .. }
        | Outcome::LockSet { version: Some(version) } => *version,
        other => panic!("{other:?}"),
    }
}

fn code(outcome: &Outcome) -> ErrorCode {
    match outcome {
        Outcome::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

fn delete(world: &World, key: &str, version: Option<VersionRef>, bypass_governance: bool) -> Request {
    let (bucket, key, conditions) = (world.bucket, key.to_owned(), Conditions::default());
    world.request(op(), Call::Delete(Delete { bucket, key, conditions, version, bypass_governance }))
}

fn set(world: &World, key: &str, version: Option<VersionRef>, change: LockChange, bypass: bool) -> Request {
    let (bucket, key) = (world.bucket, key.to_owned());
    let set = SetLock { bucket, key, version, change, bypass_governance: bypass };
    world.request(op(), Call::SetLock(set))
}

#[tokio::test]
async fn a_lock_is_its_rows_wherever_it_is() {
    let world = locking(BucketLock::default()).await;
    let lock = ObjectLock { legal_hold: Some(false), ..retained(RetentionMode::Compliance, FAR) };
    let first = told(&put(&world, "k", lock).await);
    assert_eq!(find(&world, "k", None).await.attributes.lock, lock);
    let second = told(&put(&world, "k", ObjectLock::default()).await);
    assert_eq!(find(&world, "k", Some(first)).await.attributes.lock, lock, "noncurrent");
    assert!(find(&world, "k", None).await.attributes.lock.is_none(), "an overwrite does not inherit it");
    let on = LockChange::LegalHold(true);
    for version in [first, second] {
        let done = world.store.submit(set(&world, "k", Some(version), on, false)).await;
        assert_eq!(told(&done), version);
        assert_eq!(find(&world, "k", Some(version)).await.attributes.lock.legal_hold, Some(true));
    }
    let off = world.store.submit(set(&world, "k", None, LockChange::LegalHold(false), false)).await;
    assert_eq!(told(&off), second, "the current one, where none is named");
    assert_eq!(find(&world, "k", None).await.attributes.lock.legal_hold, Some(false));
    let gone = world.store.submit(delete(&world, "k", Some(second), false)).await;
    assert!(matches!(gone, Outcome::Deleted { existed: true, .. }), "{gone:?}");
    let back = find(&world, "k", None).await.attributes.lock;
    assert_eq!(back, ObjectLock { legal_hold: Some(true), ..lock }, "it came back with its row");
    let kept = world.store.submit(delete(&world, "k", Some(first), true)).await;
    assert_eq!(code(&kept), ErrorCode::AccessDenied);
    // Nothing else of the row was written.
    let count = "SELECT count(*) FROM objects WHERE attributes ? 'lock' OR attributes IS NULL";
    assert_eq!(world.count(count).await, 0);
    world.audit().await;
}

#[tokio::test]
async fn governance_is_bypassed_only_by_the_right() {
    let world = locking(BucketLock::default()).await;
    let lock = retained(RetentionMode::Governance, FAR);
    let version = told(&put(&world, "k", lock).await);
    let ask = |bypass| world.store.submit(delete(&world, "k", Some(version), bypass));
    assert_eq!(code(&ask(true).await), ErrorCode::AccessDenied, "read_write does not include it");
    grant(&world, 16 | 32).await;
    assert_eq!(code(&ask(false).await), ErrorCode::AccessDenied, "it must be meant");
    let none = set(&world, "k", Some(version), LockChange::Retention(None), true);
    told(&world.store.submit(none).await);
    assert_eq!(find(&world, "k", None).await.attributes.lock, ObjectLock::default());
    put(&world, "k", lock).await;
    let current = find(&world, "k", None).await;
    let gone = delete(&world, "k", Some(VersionRef::Id(current.version)), true);
    assert!(matches!(world.store.submit(gone).await, Outcome::Deleted { existed: true, .. }));
    assert!(matches!(ask(false).await, Outcome::Deleted { existed: true, .. }));
    assert_eq!(world.count("SELECT count(*) FROM copies").await, 0);
}

#[tokio::test]
async fn a_bucket_gets_its_lock_and_keeps_it() {
    let world = plain().await;
    let days = |days| BucketLock {
        default_retention: Some(DefaultRetention {
            mode: RetentionMode::Governance,
            period: RetentionPeriod::Days(days),
        }),
    };
    assert_eq!(change(&world, Wanted::Lock(days(1))).await, Err(ErrorCode::InvalidBucketState));
    turn(&world, Versioning::Suspended).await.unwrap();
    assert_eq!(change(&world, Wanted::Lock(days(1))).await, Err(ErrorCode::InvalidBucketState));
    turn(&world, Versioning::Enabled).await.unwrap();
    let held = ObjectLock { legal_hold: Some(true), ..ObjectLock::default() };
    assert_eq!(code(&put(&world, "early", held).await), ErrorCode::InvalidRequest);
    let generation = change(&world, Wanted::Lock(days(1))).await.unwrap();
    assert_eq!(turn(&world, Versioning::Suspended).await, Err(ErrorCode::InvalidBucketState));
    assert_eq!(turn(&world, Versioning::Enabled).await, Ok(()));
    assert_eq!(change(&world, Wanted::Lock(days(1))).await, Ok(generation), "nothing changes");
    assert!(change(&world, Wanted::Lock(days(2))).await.unwrap() > generation);
    let config = world.store.newest().await.unwrap();
    assert_eq!(config.buckets[0].lock, Some(days(2)));
    put(&world, "k", ObjectLock::default()).await;
    let row = find(&world, "k", None).await;
    let until = RetentionPeriod::Days(2).after(row.modified);
    assert_eq!(row.attributes.lock, retained(RetentionMode::Governance, until));
    // An older release cannot read it.
    assert_eq!(world.count("SELECT count(*) FROM buckets WHERE state = 'locked'").await, 1);
    assert!(world.sql.batch_execute("UPDATE buckets SET versioning = 'suspended'").await.is_err());
}

#[tokio::test]
async fn buckets_are_made_with_a_lock_and_deleted_when_empty() {
    let world = plain().await;
    let name: s3o_types::BucketName = "vault".parse().unwrap();
    let ask = |wanted| {
        let change =
            BucketChange { op: Uuid::now_v7(), access_key: KEY.to_owned(), name: name.clone(), wanted };
        world.store.change(change)
    };
    ask(Wanted::Create { locks: true }).await.unwrap().unwrap();
    let config = world.store.newest().await.unwrap();
    let made = config.buckets.iter().find(|bucket| bucket.name == name).unwrap();
    assert_eq!((made.lock, made.versioning), (Some(BucketLock::default()), Versioning::Enabled));
    let bypass = "SELECT count(*) FROM scoped_grants WHERE rights & 32 <> 0";
    assert_eq!(world.count(bypass).await, 1, "its owner, for nobody could name it");
    ask(Wanted::Delete).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_bucket_is_locked_by_its_declaration() {
    let world = plain().await;
    let mut wanted = declared(&[None]);
    let period = RetentionPeriod::Years(1);
    let default = DefaultRetention { mode: RetentionMode::Compliance, period };
    let lock = BucketLock { default_retention: Some(default) };
    wanted.buckets[0].lock = Some(lock);
    world.store.apply_declared(&wanted, "locked").await.unwrap();
    let config = world.store.newest().await.unwrap();
    assert_eq!((config.buckets[0].lock, config.buckets[0].versioning), (Some(lock), Versioning::Enabled));
    grant(&world, 16).await;
    assert_eq!(change(&world, Wanted::Lock(BucketLock::default())).await, Err(ErrorCode::AccessDenied));
    // What is not said any more stays, and is the clients' to change.
    wanted.buckets[0].lock = None;
    world.store.apply_declared(&wanted, "silent").await.unwrap();
    assert_eq!(world.store.newest().await.unwrap().buckets[0].lock, Some(lock));
    grant(&world, 16).await;
    assert!(change(&world, Wanted::Lock(BucketLock::default())).await.is_ok());
    wanted.buckets[0].versioning = Some(Versioning::Suspended);
    let refused = world.store.apply_declared(&wanted, "suspended").await.unwrap_err();
    assert!(refused.to_string().contains("Object Lock"), "{refused}");
}

#[tokio::test]
async fn what_is_locked_is_not_found_to_be_due() {
    let world = locking(BucketLock::default()).await;
    let rule = LifecycleRule { noncurrent_days: Some(1), ..LifecycleRule::default() };
    change(&world, Wanted::Lifecycle(vec![rule])).await.unwrap();
    let locked = told(&put(&world, "k", retained(RetentionMode::Governance, FAR)).await);
    let free = told(&put(&world, "k", ObjectLock::default()).await);
    put(&world, "k", ObjectLock::default()).await;
    for table in ["objects", "object_versions"] {
        let sql = format!("UPDATE {table} SET modified = modified - interval '9 days'");
        world.sql.batch_execute(&sql).await.unwrap();
    }
    let page = world.store.due(world.bucket, &Place::start(Phase::Versions), 100).await.unwrap();
    let VersionRef::Id(free) = free else { panic!("an id") };
    let due: Vec<_> = page.due.iter().map(|expire| expire.what).collect();
    assert_eq!(due, [Expiring::Noncurrent { version: free, is_null: false }]);
    let VersionRef::Id(version) = locked else { panic!("an id") };
    let what = Expiring::Noncurrent { version, is_null: false };
    let expire = Call::Expire(Expire { bucket: world.bucket, key: "k".to_owned(), what });
    let kept = world.store.submit(world.request(op(), expire)).await;
    assert_eq!(code(&kept), ErrorCode::PreconditionFailed);
}

/// One call of a client, whatever comes of it.
async fn call(world: &World, dice: &mut Dice, known: &mut Vec<(String, VersionRef)>) {
    let key = format!("k{}", dice.roll(3));
    let mode = if dice.roll(2) == 0 { RetentionMode::Governance } else { RetentionMode::Compliance };
    let until = Timestamp(FAR.0 + i64::try_from(dice.roll(1000)).unwrap());
    let hold = [None, Some(false), Some(true)][usize::try_from(dice.roll(3)).unwrap()];
    let retention = (dice.roll(2) == 0).then_some(Retention { mode, until });
    let any = |dice: &mut Dice, known: &[(String, VersionRef)]| {
        known[usize::try_from(dice.roll(known.len() as u64)).unwrap()].clone()
    };
    let outcome = match dice.roll(10) {
        0..4 => put(world, &key, ObjectLock { retention, legal_hold: hold }).await,
        4 => world.store.submit(delete(world, &key, None, false)).await,
        5..7 if !known.is_empty() => {
            let (key, version) = any(dice, known);
            world.store.submit(delete(world, &key, Some(version), true)).await
        }
        _ if !known.is_empty() => {
            let (key, version) = any(dice, known);
            let change = match hold {
                Some(on) => LockChange::LegalHold(on),
                None => LockChange::Retention(retention),
            };
            world.store.submit(set(world, &key, Some(version), change, true)).await
        }
        _ => return,
    };
    if let Outcome::Committed { version: Some(version), .. }
    | Outcome::Deleted { version: Some(version), delete_marker: true, .. } = outcome
    {
        known.push((key, version));
    }
}

#[tokio::test]
async fn a_database_made_from_the_journal_has_the_locks() {
    let period = RetentionPeriod::Days(3);
    let default = DefaultRetention { mode: RetentionMode::Governance, period };
    for seed in 0..4 {
        let world = locking(BucketLock { default_retention: Some(default) }).await;
        grant(&world, 16 | 32).await;
        let (mut dice, mut known) = (Dice(seed), Vec::new());
        for _ in 0..60 {
            call(&world, &mut dice, &mut known).await;
        }
        let (all, from) = ship_all(&world, LogPlace::default()).await;
        let header = world.store.journal_header(from).await.unwrap();
        assert_eq!(rebuilt(&header, all).await, rows(&world.sql).await, "seed {seed}");
        // And from a snapshot that was read while clients went on, with the log behind it.
        let (mut lines, mut place) = (Vec::new(), RowPlace::start());
        while let read = world.store.snapshot_rows(&place, 3).await.unwrap()
            && let Some(upto) = read.upto
        {
            lines.extend(read.lines);
            place = upto;
            call(&world, &mut dice, &mut known).await;
        }
        let (log, upto) = ship_all(&world, from).await;
        lines.extend(log);
        let header = world.store.journal_header(upto).await.unwrap();
        assert_eq!(rebuilt(&header, lines).await, rows(&world.sql).await, "seed {seed}, by snapshot");
    }
}

/// A key; what is set before the database is copied, in the time that it loses, and since; what is there after a merge.
type Case = (&'static str, [Option<LockChange>; 3], ObjectLock);

fn both_sides() -> Vec<Case> {
    const YEAR: i64 = 365 * 24 * 60 * 60 * 1_000_000;
    let until = |mode, years: i64| Some(Retention { mode, until: Timestamp(FAR.0 + years * YEAR) });
    let governance = |years| until(RetentionMode::Governance, years);
    let compliance = |years| until(RetentionMode::Compliance, years);
    let retain = |retention| Some(LockChange::Retention(retention));
    let hold = |on| Some(LockChange::LegalHold(on));
    let kept = |retention| ObjectLock { retention, legal_hold: None };
    let held = |retention, on| ObjectLock { retention, legal_hold: Some(on) };
    vec![
        ("lost", [None, retain(compliance(0)), None], kept(compliance(0))),
        ("lost-waived", [retain(governance(0)), retain(None), None], kept(None)),
        ("lost-ahead", [None, retain(governance(2)), None], kept(compliance(1))),
        ("known", [retain(governance(0)), None, retain(None)], kept(None)),
        ("later-lost", [None, retain(governance(1)), retain(governance(0))], kept(governance(1))),
        ("later-since", [None, retain(governance(0)), retain(governance(1))], kept(governance(1))),
        ("waived", [retain(governance(0)), retain(governance(1)), retain(None)], kept(governance(1))),
        ("compliance-lost", [None, retain(compliance(0)), retain(governance(1))], kept(compliance(0))),
        ("compliance-since", [None, retain(governance(1)), retain(compliance(0))], kept(compliance(0))),
        ("longer-compliance", [None, retain(compliance(1)), retain(compliance(0))], kept(compliance(1))),
        ("hold-since", [None, retain(governance(0)), hold(true)], held(governance(0), true)),
        ("hold-lost", [None, hold(true), retain(governance(0))], held(governance(0), true)),
        ("hold-off", [None, hold(true), hold(false)], held(None, true)),
        ("hold-again", [hold(false), hold(true), retain(governance(0))], held(governance(0), true)),
        ("hold-lost-off", [hold(true), hold(false), None], held(None, false)),
        ("hold-kept", [retain(compliance(0)), hold(true), None], held(compliance(0), true)),
    ]
}

#[tokio::test]
async fn of_locks_that_were_set_on_both_sides_the_stricter_counts() {
    let cases = both_sides();
    let change = async |world: &World, time: usize| {
        for (key, changes, _) in &cases {
            if let Some(change) = changes[time] {
                told(&world.store.submit(set(world, key, None, change, true)).await);
            }
        }
    };
    let world = locking(BucketLock::default()).await;
    grant(&world, 16 | 32).await;
    for (key, ..) in &cases {
        put(&world, key, ObjectLock::default()).await;
    }
    change(&world, 0).await;
    let (lost, now) = copied(world).await;
    grant(&lost, 16 | 32).await;
    grant(&now, 16 | 32).await;
    change(&lost, 1).await;
    now.store.enter_recovery("a test").await.unwrap();
    change(&now, 2).await;
    // As where its own record is missing: the newest that is there is an old one.
    let ahead = "UPDATE objects SET retain_mode = 'compliance', retain_until = '2101-01-01 00:00Z'
                 WHERE key = 'lost-ahead'";
    now.sql.batch_execute(ahead).await.unwrap();
    let (lines, header) = shipped(&lost).await;
    merge(&now, lines, &header).await.unwrap();
    for (key, _, expected) in &cases {
        assert_eq!(find(&now, key, None).await.attributes.lock, *expected, "{key}");
    }
}
