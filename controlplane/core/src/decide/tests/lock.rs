//! Object Lock: what is locked stays, whoever asks and whatever the call; and a lock only ever changes as it may.

use proptest::prelude::*;
use s3o_types::{
    BackendId, BucketLock, DefaultRetention, LifecycleRule, ObjectLock, Retention, RetentionMode,
    RetentionPeriod, Right, Rights, Scope, Seq, Timestamp, VersionId, VersionRef, Versioning,
};

use super::*;
use crate::call::{
    CompleteUpload, CreateUpload, Delete, Expire, Expiring, ExtentOf, GiveUp, LockChange, Request, SetLock,
};
use crate::object::ObjectRow;
use crate::outcome_log::Logged;
use crate::removal::{Removal, RemovalMode};

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
/// Later than anything the tests draw.
const FAR: i64 = 1000 * DAY_US;

fn locking() -> World {
    World { versioning: Versioning::Enabled, lock: Some(BucketLock::default()), ..World::default() }
}

fn retained(mode: RetentionMode, until: i64) -> ObjectLock {
    ObjectLock { retention: Some(Retention { mode, until: Timestamp(until) }), legal_hold: None }
}

fn held() -> ObjectLock {
    ObjectLock { legal_hold: Some(true), ..ObjectLock::default() }
}

impl World {
    fn put_locked(&mut self, n: u128, key: &str, lock: ObjectLock) -> Outcome {
        let Call::Begin(begin) = begin_call(key, 10, Conditions::default()) else { panic!("a begin") };
        let begun = self.run(request(n, Call::Begin(crate::call::Begin { lock, ..begin })));
        let Outcome::Begun { version, targets, .. } = begun else { return begun };
        let Call::Commit(mut commit) = commit_call(carried(key, 10, version, targets), 1) else {
            panic!("a commit")
        };
        commit.attributes.lock = lock;
        self.run(request(n, Call::Commit(commit)))
    }

    fn lock_of(&self, version: VersionId) -> Option<ObjectLock> {
        self.rows().find(|row| row.version == version).map(|row| row.attributes.lock)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.drawn + self.later_us)
    }

    /// Whoever is called `officer` may bypass governance everywhere.
    fn with_officer(mut self) -> Self {
        let rights = Rights::ALL.with(Right::BypassGovernance);
        let scope = Scope { prefix: String::new(), rights };
        self.scopes.insert(("officer".to_owned(), BUCKET), vec![scope]);
        self
    }
}

fn by(access_key: &str, request: Request) -> Request {
    Request { access_key: access_key.into(), ..request }
}

fn delete_version(row: &ObjectRow, bypass_governance: bool) -> Call {
    let Call::Delete(delete) = delete_call(&row.key) else { panic!("a delete") };
    let version = Some(VersionRef::of(row.version, row.is_null));
    Call::Delete(Delete { version, bypass_governance, ..delete })
}

fn set(row: &ObjectRow, change: LockChange, bypass_governance: bool) -> Call {
    let version = Some(VersionRef::of(row.version, row.is_null));
    Call::SetLock(SetLock { bucket: BUCKET, key: row.key.clone(), version, change, bypass_governance })
}

fn retain(row: &ObjectRow, mode: RetentionMode, until: i64, bypass: bool) -> Call {
    set(row, LockChange::Retention(Some(Retention { mode, until: Timestamp(until) })), bypass)
}

const DENIED: Option<ErrorCode> = Some(ErrorCode::AccessDenied);

#[test]
fn what_is_locked_is_not_deleted_current_or_not() {
    for lock in [held(), retained(RetentionMode::Compliance, FAR), retained(RetentionMode::Governance, FAR)] {
        let mut world = locking();
        world.put_locked(1, "k", lock);
        let row = world.objects["k"].clone();
        assert_eq!(row.attributes.lock, lock);
        assert_eq!(refused(&world.run(request(2, delete_version(&row, false)))), DENIED);
        assert_eq!(refused(&world.run(request(3, delete_version(&row, true)))), DENIED, "no right to that");
        // It can be hidden and overwritten, and stays.
        assert!(matches!(
            world.run(request(4, delete_call("k"))),
            Outcome::Deleted { delete_marker: true, .. }
        ));
        world.put(5, "k", 10);
        assert_eq!(refused(&world.run(request(6, delete_version(&row, true)))), DENIED);
        assert_eq!(world.lock_of(row.version), Some(lock), "it is kept where it is now");
        assert!(world.cleanup.is_empty() && world.copies.len() == 2);
        // And is back with it.
        let newer = world.objects["k"].clone();
        world.run(request(7, delete_version(&newer, false)));
        let marker = world.noncurrent.values().find(|(_, marker)| *marker).expect("one").0.clone();
        world.run(request(8, delete_version(&marker, false)));
        assert_eq!(world.objects["k"], row);
        world.later_us = FAR;
        let gone = world.run(request(9, delete_version(&row, false)));
        let ends = lock.legal_hold.is_none();
        assert_eq!(matches!(gone, Outcome::Deleted { existed: true, .. }), ends, "{gone:?}");
        world.audit();
    }
}

#[test]
fn governance_is_bypassed_by_who_may_and_says_so() {
    let mut world = locking().with_officer();
    world.put_locked(1, "k", retained(RetentionMode::Governance, FAR));
    let row = world.objects["k"].clone();
    assert_eq!(refused(&world.run(by("officer", request(2, delete_version(&row, false))))), DENIED);
    let shorter = retain(&row, RetentionMode::Governance, FAR - 1, true);
    assert_eq!(refused(&world.run(request(3, shorter.clone()))), DENIED);
    assert!(matches!(world.run(by("officer", request(4, shorter))), Outcome::LockSet { version: Some(_) }));
    assert_eq!(world.lock_of(row.version), Some(retained(RetentionMode::Governance, FAR - 1)));
    let none = set(&row, LockChange::Retention(None), true);
    assert_eq!(refused(&world.run(request(5, none.clone()))), DENIED);
    assert!(matches!(
        world.run(by("officer", request(6, delete_version(&row, true)))),
        Outcome::Deleted { .. }
    ));
    assert!(world.copies.is_empty());
    // A hold is another matter.
    world.put_locked(
        7,
        "k",
        ObjectLock { legal_hold: Some(true), ..retained(RetentionMode::Governance, FAR) },
    );
    let row = world.objects["k"].clone();
    assert_eq!(refused(&world.run(by("officer", request(8, delete_version(&row, true))))), DENIED);
    let Call::SetLock(of_row) = none else { panic!("a lock") };
    let version = Some(VersionRef::Id(row.version));
    assert!(matches!(
        world.run(by("officer", request(9, Call::SetLock(SetLock { version, ..of_row })))),
        Outcome::LockSet { .. }
    ));
    assert_eq!(refused(&world.run(by("officer", request(10, delete_version(&row, true))))), DENIED);
    world.run(request(11, set(&row, LockChange::LegalHold(false), false)));
    assert_eq!(
        world.lock_of(row.version),
        Some(ObjectLock { legal_hold: Some(false), ..ObjectLock::default() })
    );
    assert!(matches!(
        world.run(request(12, delete_version(&row, false))),
        Outcome::Deleted { existed: true, .. }
    ));
}

#[test]
fn compliance_only_grows() {
    use RetentionMode::{Compliance, Governance};
    let mut world = locking().with_officer();
    world.put_locked(1, "k", retained(Compliance, FAR));
    let row = world.objects["k"].clone();
    let mut ask = |n, call| refused(&world.run(by("officer", request(n, call))));
    assert_eq!(ask(2, retain(&row, Compliance, FAR - 1, true)), DENIED);
    assert_eq!(ask(3, retain(&row, Governance, FAR + 1, true)), DENIED);
    assert_eq!(ask(4, set(&row, LockChange::Retention(None), true)), DENIED);
    assert_eq!(ask(5, delete_version(&row, true)), DENIED);
    assert_eq!(ask(6, retain(&row, Compliance, FAR, false)), None, "the same again");
    // The clock goes on by some microseconds with each call.
    assert_eq!(ask(7, retain(&row, Compliance, FAR + 1000, false)), None);
    world.later_us = FAR;
    assert_eq!(refused(&world.run(request(8, delete_version(&row, false)))), DENIED, "by its new date");
    world.later_us = FAR + 1000;
    assert!(matches!(
        world.run(request(9, retain(&row, Governance, 2 * FAR, false))),
        Outcome::LockSet { .. }
    ));
    // From governance to compliance is a change like any other.
    let stricter = retain(&row, Compliance, 2 * FAR, false);
    assert_eq!(refused(&world.run(request(10, stricter))), DENIED);
    let stricter = retain(&row, Compliance, 2 * FAR, true);
    assert!(matches!(world.run(by("officer", request(11, stricter))), Outcome::LockSet { .. }));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut world = World { lock: None, ..locking() };
    world.put(1, "k", 10);
    let row = world.objects["k"].clone();
    let invalid = Some(ErrorCode::InvalidRequest);
    assert_eq!(refused(&world.put_locked(2, "k", held())), invalid, "before the body");
    assert_eq!(refused(&world.run(request(3, set(&row, LockChange::LegalHold(true), false)))), invalid);
    let upload = CreateUpload {
        bucket: BUCKET,
        key: "k".into(),
        attributes: ObjectAttributes { lock: held(), ..ObjectAttributes::default() },
        checksum: None,
    };
    assert_eq!(refused(&world.run(request(4, Call::CreateUpload(upload)))), invalid);
    world.lock = Some(BucketLock::default());
    let past = Some(ErrorCode::InvalidArgument);
    assert_eq!(refused(&world.put_locked(5, "k", retained(RetentionMode::Compliance, 5))), past);
    assert_eq!(refused(&world.run(request(6, retain(&row, RetentionMode::Governance, 6, false)))), past);
    world.run(request(7, delete_call("k")));
    let marker = world.noncurrent.values().find(|(_, marker)| *marker).expect("one").0.clone();
    let on_marker = world.run(request(8, set(&marker, LockChange::LegalHold(true), false)));
    assert_eq!(refused(&on_marker), Some(ErrorCode::MethodNotAllowed));
    let current = SetLock {
        bucket: BUCKET,
        key: "k".into(),
        version: None,
        change: LockChange::LegalHold(true),
        bypass_governance: false,
    };
    assert_eq!(refused(&world.run(request(9, Call::SetLock(current)))), Some(ErrorCode::NoSuchKey));
    let stranger = by("stranger", request(10, set(&row, LockChange::LegalHold(true), false)));
    assert_eq!(refused(&world.run(stranger)), DENIED);
}

/// Of a bucket whose lock was lost with the database's last minutes: the write must not count without its lock.
#[test]
fn a_commit_whose_bucket_lost_its_lock_is_refused() {
    let mut world = locking();
    let Call::Begin(begin) = begin_call("k", 10, Conditions::default()) else { panic!("a begin") };
    let begun = world.run(request(1, Call::Begin(crate::call::Begin { lock: held(), ..begin })));
    let Outcome::Begun { version, targets, .. } = begun else { panic!("{begun:?}") };
    world.lock = None;
    let Call::Commit(mut commit) = commit_call(carried("k", 10, version, targets), 1) else { panic!() };
    commit.attributes.lock = held();
    let call = Call::Commit(commit);
    assert_eq!(refused(&world.run(request(1, call.clone()))), Some(ErrorCode::InvalidRequest));
    assert_eq!(refused(&world.run(request(1, call))), Some(ErrorCode::InvalidRequest), "a repeat");
    assert!(world.objects.is_empty());
}

#[test]
fn the_log_has_the_row_and_a_repeat_changes_nothing() {
    let mut world = locking();
    world.put(1, "k", 10);
    let row = world.objects["k"].clone();
    let on = set(&row, LockChange::LegalHold(true), false);
    let done = world.run(request(2, on.clone()));
    let change = world.changes.last().expect("a change");
    assert_eq!((change.logged, change.version), (Logged::LockSet, Some(row.version)));
    let logged = change.object.as_ref().expect("the row");
    assert_eq!((logged.attributes.lock, logged.seq, &logged.etag), (held(), row.seq, &row.etag));
    world.run(request(3, set(&row, LockChange::LegalHold(false), false)));
    assert_eq!(world.run(request(2, on)), done);
    assert_eq!(world.lock_of(row.version).and_then(|lock| lock.legal_hold), Some(false));
}

#[test]
fn a_bucket_retains_by_itself_from_the_commit_on() {
    let default = DefaultRetention { mode: RetentionMode::Governance, period: RetentionPeriod::Days(1) };
    let mut world = World { lock: Some(BucketLock { default_retention: Some(default) }), ..locking() };
    world.later_us = 3 * DAY_US;
    world.put(1, "k", 10);
    let until = default.period.after(world.objects["k"].modified);
    assert_eq!(world.objects["k"].attributes.lock, retained(RetentionMode::Governance, until.0));
    assert!(until.0 > 4 * DAY_US);
    world.put_locked(2, "k", held());
    let both = world.objects["k"].attributes.lock;
    assert!(both.retention.is_some() && both.legal_hold == Some(true));
    let own = retained(RetentionMode::Compliance, FAR);
    world.put_locked(3, "k", own);
    assert_eq!(world.objects["k"].attributes.lock, own, "what the writer says counts");
    // Of a multipart upload the Complete is the commit.
    let attributes = ObjectAttributes { lock: held(), ..ObjectAttributes::default() };
    let create = CreateUpload { bucket: BUCKET, key: "k".into(), attributes, checksum: None };
    world.run(request(4, Call::CreateUpload(create)));
    let upload = s3o_types::UploadId(op(4).id);
    let number = s3o_types::Extent::new(1).expect("small");
    let Call::Begin(begin) = begin_call("k", 10, Conditions::default()) else { panic!("a begin") };
    let part = crate::call::PartOf { upload, number };
    let kind = crate::intent::WriteKind::Part;
    let begun = world.run(request(5, Call::Begin(crate::call::Begin { kind, part: Some(part), ..begin })));
    let Outcome::Begun { version, targets, .. } = begun else { panic!("{begun:?}") };
    let intent = CarriedIntent { upload: Some(upload), ..carried("k", 10, version, targets) };
    world.run(request(5, commit_call(intent, 1)));
    world.later_us = 9 * DAY_US;
    let complete = CompleteUpload {
        bucket: BUCKET,
        key: "k".into(),
        upload,
        conditions: Conditions::default(),
        etag: Etag::new("e-1"),
        checksums: s3o_types::Checksums::default(),
        parts: vec![(number, s3o_types::Gen::of_client(0).expect("the first"))],
    };
    let complete = Call::CompleteUpload(Box::new(complete));
    // Without Object Lock, as in a database that was set back, the lock would be lost: nothing is completed.
    let lock = world.lock.take();
    assert_eq!(refused(&world.run(request(6, complete.clone()))), Some(ErrorCode::InvalidRequest));
    world.lock = lock;
    let completed = world.run(request(7, complete));
    assert!(matches!(completed, Outcome::Committed { .. }), "{completed:?}");
    let lock = world.objects["k"].attributes.lock;
    assert_eq!(lock.legal_hold, Some(true));
    assert!(lock.retention.is_some_and(|retention| retention.until.0 > 10 * DAY_US));
    world.audit();
}

#[test]
fn a_promoted_write_has_the_lock_that_its_blob_says() {
    let mut world = locking();
    let Call::Begin(begin) = begin_call("k", 10, Conditions::default()) else { panic!("a begin") };
    world.run(request(1, Call::Begin(crate::call::Begin { lock: held(), ..begin })));
    let intent = claimed(&mut world, 1);
    let Call::Resolve(mut resolve) = resolve_call(intent, true) else { panic!("a resolve") };
    for (_, found) in &mut resolve.found {
        if let Found::Blob { attributes: Some(attributes), .. } = found {
            attributes.lock = held();
        }
    }
    assert_eq!(world.run(request(1, Call::Resolve(resolve))), Outcome::Resolved(Resolution::Promoted));
    assert_eq!(world.objects["k"].attributes.lock, held());
}

#[test]
fn what_is_locked_is_not_due() {
    let rule =
        LifecycleRule { noncurrent_days: Some(1), expire_after_days: Some(1), ..LifecycleRule::default() };
    let mut world = World { lifecycle: vec![rule], ..locking() };
    world.put_locked(1, "k", retained(RetentionMode::Governance, FAR));
    let row = world.objects["k"].clone();
    world.later_us = 10 * DAY_US;
    let what = Expiring::Current(row.version);
    let expire = |what| Call::Expire(Expire { bucket: BUCKET, key: "k".into(), what });
    let hidden = world.run(request(2, expire(what)));
    assert!(matches!(hidden, Outcome::Deleted { delete_marker: true, .. }), "it can be hidden: {hidden:?}");
    world.later_us = 20 * DAY_US;
    let what = Expiring::Noncurrent { version: row.version, is_null: false };
    assert_eq!(refused(&world.run(request(3, expire(what)))), Some(ErrorCode::PreconditionFailed));
    assert!(world.lock_of(row.version).is_some());
    world.later_us = FAR + DAY_US;
    assert!(matches!(world.run(request(4, expire(what))), Outcome::Deleted { existed: true, .. }));
}

#[test]
fn the_last_copy_of_what_is_locked_is_not_given_up() {
    let mut world = locking();
    world.put_locked(1, "k", held());
    world.put_locked(2, "other", ObjectLock::default());
    let copy = world.copies[0].clone();
    world.draining.insert(copy.backend);
    let losses_upto = Some(Seq(world.drawn));
    world.removals.insert(copy.backend, Removal { mode: RemovalMode::Purge, losses_upto });
    let call = give_up(&world, "k");
    let kept = world.run(request(3, call.clone()));
    let Outcome::Refused(refusal) = &kept else { panic!("{kept:?}") };
    assert_eq!(refusal.code, ErrorCode::PreconditionFailed);
    assert!(refusal.message.contains("Object Lock"), "{}", refusal.message);
    let row = world.objects["k"].clone();
    world.run(request(4, set(&row, LockChange::LegalHold(false), false)));
    assert!(matches!(world.run(request(5, call)), Outcome::Deleted { existed: true, .. }));
}

fn give_up(world: &World, key: &str) -> Call {
    let copy = world.copies.iter().find(|copy| copy.key == key).expect("a copy");
    let (version, extent) = (copy.blob.version, copy.blob.extent);
    let of = ExtentOf { bucket: BUCKET, key: key.into(), version, extent };
    Call::GiveUp(GiveUp { of, backend: copy.backend, r#gen: copy.blob.r#gen })
}

/// Where a bucket does not keep versions nothing can be locked; if something were, an overwrite would be refused, and not
/// have it deleted.
#[test]
fn a_locked_version_is_in_nobodys_way_unseen() {
    let mut world = World::default();
    world.put(1, "k", 10);
    world.objects.get_mut("k").expect("there").attributes.lock = held();
    let version = world.objects["k"].version;
    assert_eq!(refused(&world.put_locked(2, "k", ObjectLock::default())), DENIED);
    assert_eq!(refused(&world.run(request(3, delete_call("k")))), DENIED);
    world.versioning = Versioning::Suspended;
    world.objects.get_mut("k").expect("there").is_null = true;
    assert_eq!(refused(&world.put_locked(4, "k", ObjectLock::default())), DENIED);
    assert_eq!(refused(&world.run(request(5, delete_call("k")))), DENIED);
    assert_eq!(world.objects["k"].version, version);
}

#[derive(Debug, Clone)]
enum Step {
    Put { key: u8, lock: ObjectLock },
    Hide { key: u8 },
    Delete { row: usize, bypass: bool, officer: bool },
    Set { row: usize, change: LockChange, bypass: bool, officer: bool },
    Expire { row: usize },
    GiveUp { copy: usize },
    Wait { us: i64 },
}

fn retentions() -> impl Strategy<Value = Retention> {
    let mode = prop_oneof![Just(RetentionMode::Governance), Just(RetentionMode::Compliance)];
    (mode, 0..200_i64).prop_map(|(mode, until)| Retention { mode, until: Timestamp(until * DAY_US) })
}

fn locks() -> impl Strategy<Value = ObjectLock> {
    (prop::option::of(retentions()), prop::option::weighted(0.3, any::<bool>()))
        .prop_map(|(retention, legal_hold)| ObjectLock { retention, legal_hold })
}

fn steps() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        3 => prop::option::weighted(0.8, retentions()).prop_map(LockChange::Retention),
        1 => any::<bool>().prop_map(LockChange::LegalHold),
    ];
    prop_oneof![
        4 => (0..3_u8, locks()).prop_map(|(key, lock)| Step::Put { key, lock }),
        1 => (0..3_u8).prop_map(|key| Step::Hide { key }),
        6 => (0..9_usize, any::<bool>(), any::<bool>())
            .prop_map(|(row, bypass, officer)| Step::Delete { row, bypass, officer }),
        4 => (0..9_usize, change, any::<bool>(), any::<bool>())
            .prop_map(|(row, change, bypass, officer)| Step::Set { row, change, bypass, officer }),
        3 => (0..9_usize).prop_map(|row| Step::Expire { row }),
        2 => (0..9_usize).prop_map(|copy| Step::GiveUp { copy }),
        2 => (1..60_i64).prop_map(|days| Step::Wait { us: days * DAY_US }),
    ]
}

/// The call, and whether a governance retention is rightly bypassed by it.
fn call_of(world: &World, n: u128, step: &Step) -> Option<(Request, bool)> {
    let rows: Vec<&ObjectRow> = world.rows().collect();
    let row = |n: usize| (!rows.is_empty()).then(|| rows[n % rows.len()]);
    let who = |officer| if officer { "officer" } else { "writer" };
    Some(match *step {
        Step::Hide { key } => (request(n, delete_call(&format!("k{key}"))), false),
        Step::Delete { row: at, bypass, officer } => {
            (by(who(officer), request(n, delete_version(row(at)?, bypass))), bypass && officer)
        }
        Step::Set { row: at, change, bypass, officer } => {
            (by(who(officer), request(n, set(row(at)?, change, bypass))), bypass && officer)
        }
        Step::Expire { row: at } => {
            let row = row(at)?;
            let what = Expiring::Noncurrent { version: row.version, is_null: row.is_null };
            (request(n, Call::Expire(Expire { bucket: BUCKET, key: row.key.clone(), what })), false)
        }
        Step::GiveUp { copy } => {
            let copy = world.copies.get(copy % world.copies.len().max(1))?;
            (request(n, give_up(world, &copy.key)), false)
        }
        Step::Put { .. } | Step::Wait { .. } => return None,
    })
}

/// Whether a lock became another as it may.
fn may_become(before: &ObjectLock, after: &ObjectLock, now: Timestamp, bypass: bool, step: &Step) -> bool {
    let taken_off = matches!(step, Step::Set { change: LockChange::LegalHold(_), .. });
    let hold = before.legal_hold == after.legal_hold || taken_off;
    let retention = match before.retention.filter(|retention| retention.holds(now)) {
        None => true,
        Some(Retention { mode: RetentionMode::Governance, .. }) if bypass => true,
        Some(stands) => {
            after.retention.is_some_and(|after| after.mode == stands.mode && after.until >= stands.until)
        }
    };
    hold && retention
}

proptest! {
    /// No sequence of calls removes a locked version before its time.
    #[test]
    fn no_locked_version_is_removed(history in prop::collection::vec(steps(), 1..60)) {
        let rule = LifecycleRule { noncurrent_days: Some(1), ..LifecycleRule::default() };
        let mut world = World { lifecycle: vec![rule], ..locking() }.with_officer();
        for backend in [1, 2, 3].map(BackendId) {
            let removal = Removal { mode: RemovalMode::Purge, losses_upto: Some(Seq(i64::MAX)) };
            world.removals.insert(backend, removal);
        }
        for (n, step) in (1..).zip(&history) {
            let before: Vec<(VersionId, ObjectLock)> =
                world.rows().map(|row| (row.version, row.attributes.lock)).collect();
            let bypass = match step {
                Step::Wait { us } => {
                    world.later_us += us;
                    continue;
                }
                Step::Put { key, lock } => {
                    world.put_locked(n, &format!("k{key}"), *lock);
                    false
                }
                step => {
                    let Some((request, bypass)) = call_of(&world, n, step) else { continue };
                    world.run(request);
                    bypass
                }
            };
            let now = world.now();
            for (version, lock) in before {
                let after = world.lock_of(version);
                let deletes = bypass && matches!(step, Step::Delete { .. });
                if lock.held(now, deletes).is_some() {
                    prop_assert!(after.is_some(), "{step:?} removed {lock:?} at {now:?}");
                }
                if let Some(after) = after {
                    prop_assert!(may_become(&lock, &after, now, bypass, step), "{step:?}: {lock:?} to {after:?}");
                }
            }
        }
        world.audit();
    }
}
