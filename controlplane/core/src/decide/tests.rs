//! The rules against a model of the tables: random histories of calls, repeats and crashes keep every
//! byte accounted for, and each rule has its own small case.

mod places;
mod set_tags;

use std::collections::HashMap;

use proptest::prelude::*;
use s3o_types::{
    AckLevel, BackendId, BackendState, BlobName, BucketId, Checksums, Conditions, Encoding, ErrorCode, Etag,
    ObjectAttributes, Op, Place, Seq, Timestamp,
};
use uuid::Uuid;

use super::{Decision, decide};
use crate::call::{
    Abort, Begin, Call, CarriedIntent, Commit, Delete, FinishedTarget, Found, Outcome, Request, Resolution,
    Resolve, Retarget, StoredCopy,
};
use crate::cleanup::CleanupEntry;
use crate::config::{BucketState, Routing};
use crate::facts::{BackendFacts, BucketFacts, CurrentObject, Facts};
use crate::intent::{Intent, Target, TargetEnd, WriteKind};
use crate::object::{CopyRow, ObjectRow};
use crate::outcome_log::{Change, LoggedOutcome};
use crate::usage::{Usage, signed};

const BUCKET: BucketId = BucketId(1);
const REAPER: Uuid = Uuid::from_u128(0xdead);

/// The tables, in memory.
#[derive(Default, Clone)]
struct World {
    objects: HashMap<String, ObjectRow>,
    copies: Vec<CopyRow>,
    intents: HashMap<Op, Intent>,
    usage: HashMap<BackendId, Usage>,
    cleanup: Vec<CleanupEntry>,
    changes: Vec<Change>,
    drawn: i64,
    quota: Option<u64>,
    /// How often each backend was moved.
    moves: HashMap<BackendId, i32>,
}

impl World {
    fn facts(&mut self, requests: &[Request]) -> Facts {
        let backends = [1, 2, 3].map(|id| BackendFacts {
            id: BackendId(id),
            place: self.place(BackendId(id)),
            state: BackendState::Active,
            attached: true,
            priority: 0,
            position: id,
            quota_bytes: self.quota,
            max_object_size: None,
            usage: self.usage.get(&BackendId(id)).copied().unwrap_or_default(),
        });
        let bucket = BucketFacts {
            name: "bucket".into(),
            state: BucketState::Active,
            ack: AckLevel::One,
            replication_factor: 1,
            max_object_size: Some(1000),
        };
        let log_head = Seq(self.drawn);
        let seqs = requests
            .iter()
            .map(|_| {
                self.drawn += 1;
                Seq(self.drawn)
            })
            .collect();
        let overtaken = requests.iter().filter(|r| self.is_overtaken(r.op)).map(|r| r.op).collect();
        Facts {
            now: Timestamp(self.drawn),
            routing: Routing::Spread,
            buckets: HashMap::from([(BUCKET, bucket)]),
            writers: std::iter::once(("writer".to_owned(), BUCKET)).collect(),
            backends: backends.to_vec(),
            places: [1, 2, 3].map(|id| (BackendId(id), self.place(BackendId(id)))).into(),
            outcomes: self.outcomes(),
            intents: self.intents.clone(),
            objects: self
                .objects
                .iter()
                .map(|(key, row)| ((BUCKET, key.clone()), self.current(row)))
                .collect(),
            named_blobs: self.copies.iter().map(|copy| (copy.backend, copy.blob)).collect(),
            overtaken,
            log_head,
            seqs,
            version_seeds: requests
                .iter()
                .map(|r| (self.drawn.unsigned_abs(), r.op.id.as_u64_pair().1))
                .collect(),
        }
    }

    fn place(&self, backend: BackendId) -> Place {
        Place::from_number(1 + self.moves.get(&backend).copied().unwrap_or_default())
    }

    fn move_backend(&mut self, backend: BackendId) {
        *self.moves.entry(backend).or_default() += 1;
    }

    /// A write counts only where its caller sent it and where its backend is.
    fn assert_in_place(&self, call: &Call, copies: &[CopyRow]) {
        let targets = match call {
            Call::Commit(commit) => &commit.intent.targets,
            Call::Resolve(resolve) => &resolve.intent.targets,
            _ => return,
        };
        for copy in copies {
            let target = targets.iter().find(|target| target.backend == copy.backend).expect("a target");
            assert_eq!(target.place, self.place(copy.backend), "a blob counts at a place of the past");
        }
    }

    fn current(&self, row: &ObjectRow) -> CurrentObject {
        let copies = self.copies.iter().filter(|c| c.blob.version == row.version).cloned().collect();
        CurrentObject { row: row.clone(), copies }
    }

    fn outcomes(&self) -> HashMap<Op, LoggedOutcome> {
        let logged = |c: &Change| LoggedOutcome { logged: c.logged, seq: c.seq, at: Timestamp(c.seq.0) };
        self.changes.iter().map(|c| (c.op, logged(c))).collect()
    }

    fn is_overtaken(&self, op: Op) -> bool {
        self.intents.get(&op).is_some_and(|intent| {
            self.changes
                .iter()
                .any(|c| c.seq > intent.log_floor && c.key == intent.key && c.logged.changed_key())
        })
    }

    fn run(&mut self, request: Request) -> Outcome {
        let requests = [request];
        let Decision { mut outcomes, effects } = decide(self.facts(&requests), &requests);
        self.assert_in_place(&requests[0].call, &effects.add_copies);
        for row in effects.put_objects {
            self.objects.insert(row.key.clone(), row);
        }
        for row in effects.set_tags {
            assert!(self.objects.insert(row.key.clone(), row).is_some());
        }
        for (_, key) in effects.drop_objects {
            assert!(self.objects.remove(&key).is_some());
        }
        self.copies.retain(|copy| !effects.drop_copies.contains(&copy.blob.version));
        self.copies.extend(effects.add_copies);
        for intent in effects.add_intents {
            assert!(self.intents.insert(intent.op, intent).is_none());
        }
        for (op, target) in effects.add_targets {
            self.intents.get_mut(&op).expect("intent").targets.push(target);
        }
        for op in effects.drop_intents {
            assert!(self.intents.remove(&op).is_some());
        }
        for (backend, delta) in effects.usage {
            *self.usage.entry(backend).or_default() += delta;
        }
        self.cleanup.extend(effects.cleanup);
        self.changes.extend(effects.changes);
        self.audit();
        outcomes.remove(0)
    }

    /// Promise 4, on the model.
    fn audit(&self) {
        let mut expected: HashMap<BackendId, Usage> = HashMap::new();
        for copy in &self.copies {
            let bytes = Usage { used: signed(copy.stored_size), objects: 1, ..Usage::default() };
            *expected.entry(copy.backend).or_default() += bytes;
            assert_eq!(self.objects.get(&copy.key).map(|row| row.version), Some(copy.blob.version));
        }
        for intent in self.intents.values() {
            for target in &intent.targets {
                let bytes = Usage { reserved: signed(intent.size), ..Usage::default() };
                *expected.entry(target.backend).or_default() += bytes;
            }
        }
        for entry in &self.cleanup {
            let bytes = Usage { orphaned: signed(entry.size), ..Usage::default() };
            *expected.entry(entry.backend).or_default() += bytes;
        }
        for backend in [1, 2, 3].map(BackendId) {
            let (have, want) = (self.usage.get(&backend), expected.get(&backend));
            assert_eq!(have.copied().unwrap_or_default(), want.copied().unwrap_or_default(), "{backend:?}");
            if let Some(quota) = self.quota {
                assert!(have.copied().unwrap_or_default().total() <= signed(quota), "quota overshot");
            }
        }
        let mut ops: Vec<Op> = self.changes.iter().map(|change| change.op).collect();
        ops.sort_unstable();
        ops.dedup();
        assert_eq!(ops.len(), self.changes.len(), "an operation has two outcomes");
        let mut queued: Vec<(BackendId, &str)> =
            self.cleanup.iter().map(|entry| (entry.backend, entry.storage_key.as_str())).collect();
        queued.sort_unstable();
        queued.dedup();
        assert_eq!(queued.len(), self.cleanup.len(), "a blob is queued twice");
    }

    fn begin(&mut self, n: u128, key: &str, size: u64, conditions: Conditions) -> Outcome {
        self.run(request(n, begin_call(key, size, conditions)))
    }

    fn put(&mut self, n: u128, key: &str, size: u64) -> Outcome {
        let Outcome::Begun { version, targets, .. } = self.begin(n, key, size, Conditions::default()) else {
            panic!("not begun");
        };
        self.run(request(n, commit_call(carried(key, size, version, targets), 1)))
    }
}

fn op(n: u128) -> Op {
    Op { id: Uuid::from_u128(n), item: 0 }
}

fn request(n: u128, call: Call) -> Request {
    Request {
        op: op(n),
        session: Uuid::nil(),
        access_key: "writer".into(),
        source: String::new(),
        request_id: String::new(),
        bulk: false,
        call,
    }
}

fn begin_call(key: &str, size: u64, conditions: Conditions) -> Call {
    Call::Begin(Begin {
        bucket: BUCKET,
        key: key.into(),
        size,
        conditions,
        kind: WriteKind::Put,
        down: vec![],
        prefer: vec![],
    })
}

fn carried(key: &str, size: u64, version: s3o_types::VersionId, targets: Vec<Target>) -> CarriedIntent {
    CarriedIntent {
        bucket: BUCKET,
        key: key.into(),
        version,
        size,
        conditions: Conditions::default(),
        targets,
    }
}

/// Commits with a copy at the last `copies` targets; the others stay unnamed.
fn commit_call(intent: CarriedIntent, copies: usize) -> Call {
    let stored = |target: &Target| StoredCopy {
        target: target.id(),
        stored_size: intent.size,
        backend_etag: None,
        backend_version: None,
        encoding: Encoding::default(),
    };
    let copies = intent.targets.iter().rev().take(copies).map(stored).collect();
    Call::Commit(Box::new(Commit {
        intent,
        etag: Etag::new("e"),
        attributes: ObjectAttributes::default(),
        checksums: Checksums::default(),
        copies,
        failed: vec![],
    }))
}

fn delete_call(key: &str) -> Call {
    Call::Delete(Delete { bucket: BUCKET, key: key.into(), conditions: Conditions::default() })
}

fn refused(outcome: &Outcome) -> Option<ErrorCode> {
    match outcome {
        Outcome::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

#[test]
fn an_overwrite_displaces_and_the_last_commit_wins() {
    let mut world = World::default();
    assert!(matches!(world.put(1, "k", 10), Outcome::Committed { .. }));
    let Outcome::Committed { seq, .. } = world.put(2, "k", 20) else { panic!("not committed") };
    assert_eq!(world.objects["k"].seq, seq);
    assert_eq!((world.copies.len(), world.cleanup.len()), (1, 1));
    assert!(world.cleanup[0].reason.had_readers());
}

#[test]
fn a_repeat_gets_the_first_outcome() {
    let mut world = World::default();
    let first = world.begin(1, "k", 10, Conditions::default());
    assert_eq!(world.begin(1, "k", 10, Conditions::default()), first);
    let Outcome::Begun { version, targets, .. } = first else { panic!("not begun") };
    let commit = commit_call(carried("k", 10, version, targets.clone()), 1);
    let committed = world.run(request(1, commit.clone()));
    world.put(2, "k", 30);
    assert_eq!(world.run(request(1, commit)), committed);
    assert_eq!(world.begin(1, "k", 10, Conditions::default()), committed);
    let abort = Call::Abort(Abort { intent: carried("k", 10, version, targets), targets: vec![] });
    assert_eq!(world.run(request(1, abort)), committed);
    assert_eq!(world.objects["k"].size, 30);
}

#[test]
fn a_repeated_delete_leaves_what_came_in_between() {
    let mut world = World::default();
    world.put(1, "k", 1);
    assert_eq!(world.run(request(2, delete_call("k"))), Outcome::Deleted { existed: true });
    world.put(3, "k", 2);
    assert_eq!(world.run(request(2, delete_call("k"))), Outcome::Deleted { existed: true });
    assert!(world.objects.contains_key("k"));
    assert_eq!(world.run(request(4, delete_call("x"))), Outcome::Deleted { existed: false });
    world.put(5, "x", 2);
    assert_eq!(world.run(request(4, delete_call("x"))), Outcome::Deleted { existed: false });
    assert!(world.objects.contains_key("x"));
}

#[test]
fn conditions_are_decided_in_commit() {
    let mut world = World::default();
    let absent = Conditions { if_absent: true, if_match: None };
    let (first, second) = (world.begin(1, "k", 1, absent.clone()), world.begin(2, "k", 1, absent.clone()));
    let commit = |outcome: Outcome| {
        let Outcome::Begun { version, targets, .. } = outcome else { panic!("not begun") };
        commit_call(carried("k", 1, version, targets), 1)
    };
    assert!(matches!(world.run(request(2, commit(second))), Outcome::Committed { .. }));
    let late = world.run(request(1, commit(first)));
    assert_eq!(refused(&late), Some(ErrorCode::PreconditionFailed));
    assert!(!world.cleanup[0].uncertain);
    assert_eq!(refused(&world.begin(3, "k", 1, absent)), Some(ErrorCode::PreconditionFailed));
    let matching = Conditions { if_absent: false, if_match: Some(Etag::new("other")) };
    assert_eq!(refused(&world.begin(4, "k", 1, matching.clone())), Some(ErrorCode::PreconditionFailed));
    assert_eq!(refused(&world.begin(5, "gone", 1, matching)), Some(ErrorCode::NoSuchKey));
}

#[test]
fn a_write_nobody_knows_is_lost_and_its_blob_queued_once() {
    let mut world = World::default();
    let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
        panic!("not begun");
    };
    // PostgreSQL crashed and forgot the intent with its reservation.
    world.intents.clear();
    world.usage.clear();
    let commit = commit_call(carried("k", 10, version, targets), 1);
    assert_eq!(refused(&world.run(request(1, commit.clone()))), Some(ErrorCode::WriteLost));
    assert_eq!(refused(&world.run(request(1, commit))), Some(ErrorCode::WriteLost));
    assert_eq!(world.cleanup.len(), 1);
    assert!(!world.cleanup[0].uncertain);
}

#[test]
fn a_lost_abort_never_touches_a_live_blob() {
    let mut world = World::default();
    world.put(1, "k", 10);
    let copy = world.copies[0].clone();
    let target = Target::whole((copy.backend, Place::FIRST), "bucket", "k", copy.blob.version);
    let abort =
        Call::Abort(Abort { intent: carried("k", 10, copy.blob.version, vec![target]), targets: vec![] });
    world.run(request(99, abort));
    assert!(world.cleanup.is_empty());
}

#[test]
fn a_target_that_failed_is_replaced_and_queued() {
    let mut world = World::default();
    let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
        panic!("not begun");
    };
    let retarget = |targets: Vec<Target>| {
        let failed = targets[0].backend;
        Call::Retarget(Retarget { intent: carried("k", 10, version, targets), failed, down: vec![] })
    };
    let Outcome::Retargeted(added) = world.run(request(1, retarget(targets.clone()))) else {
        panic!("not retargeted");
    };
    assert_ne!(added.backend, targets[0].backend);
    assert_eq!(world.run(request(1, retarget(targets.clone()))), Outcome::Retargeted(added.clone()));
    let all = [targets, vec![added.clone()]].concat();
    world.run(request(1, commit_call(carried("k", 10, version, all), 1)));
    assert_eq!(world.copies[0].backend, added.backend);
    assert_eq!(world.cleanup.len(), 1);
    assert!(world.cleanup[0].uncertain, "an unnamed end may still complete");
}

fn claimed(world: &mut World, n: u128) -> Intent {
    let intent = world.intents.get_mut(&op(n)).expect("intent");
    intent.claimed_by = Some(REAPER);
    intent.clone()
}

fn resolve_call(intent: Intent, whole: bool) -> Call {
    let found = |target: &Target| {
        let blob = Found::Blob {
            stored_size: intent.size,
            size: intent.size,
            etag: Some(Etag::new("e")),
            attributes: Some(ObjectAttributes::default()),
            backend_version: None,
        };
        (target.id(), if whole { blob } else { Found::Nothing })
    };
    let found = intent.targets.iter().map(found).collect();
    Call::Resolve(Box::new(Resolve { intent, owner: REAPER, found }))
}

#[test]
fn the_reaper_promotes_what_is_whole_and_a_late_commit_agrees() {
    let mut world = World::default();
    let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
        panic!("not begun");
    };
    let intent = claimed(&mut world, 1);
    let commit = commit_call(carried("k", 10, version, targets), 1);
    assert_eq!(refused(&world.run(request(1, commit.clone()))), Some(ErrorCode::ServiceUnavailable));
    let resolve = resolve_call(intent, true);
    assert_eq!(world.run(request(1, resolve.clone())), Outcome::Resolved(Resolution::Promoted));
    assert_eq!(world.run(request(1, resolve)), Outcome::Resolved(Resolution::Promoted));
    assert!(matches!(world.run(request(1, commit)), Outcome::Committed { .. }));
    assert_eq!(world.objects["k"].version, version);
}

#[test]
fn the_reaper_gives_up_what_is_missing_or_overtaken() {
    let mut world = World::default();
    world.begin(1, "k", 10, Conditions::default());
    let intent = claimed(&mut world, 1);
    assert_eq!(world.run(request(1, resolve_call(intent, false))), Outcome::Resolved(Resolution::Dropped));
    assert!(world.cleanup[0].uncertain, "a 404 proves nothing about a late PUT");

    world.begin(2, "k", 10, Conditions::default());
    world.put(3, "k", 5);
    let intent = claimed(&mut world, 2);
    assert_eq!(world.run(request(2, resolve_call(intent, true))), Outcome::Resolved(Resolution::Superseded));
    assert_eq!(world.objects["k"].size, 5);

    world.begin(4, "j", 10, Conditions { if_absent: true, if_match: None });
    let intent = claimed(&mut world, 4);
    assert_eq!(world.run(request(4, resolve_call(intent, true))), Outcome::Resolved(Resolution::Dropped));
}

#[test]
fn the_reaper_never_promotes_what_the_log_may_have_forgotten() {
    let mut world = World::default();
    world.begin(1, "k", 10, Conditions::default());
    world.intents.get_mut(&op(1)).expect("intent").begun = Timestamp(-13 * 3600 * 1_000_000);
    let intent = claimed(&mut world, 1);
    assert_eq!(world.run(request(1, resolve_call(intent, true))), Outcome::Resolved(Resolution::Dropped));

    // The row of a later write stands, though its log row is gone.
    world.begin(2, "k", 10, Conditions::default());
    world.put(3, "k", 5);
    world.changes.retain(|change| change.op != op(3));
    let intent = claimed(&mut world, 2);
    assert_eq!(world.run(request(2, resolve_call(intent, true))), Outcome::Resolved(Resolution::Dropped));
    assert_eq!(world.objects["k"].size, 5);
}

#[test]
fn a_target_that_the_database_forgot_is_queued_and_never_committed() {
    let mut world = World::default();
    let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
        panic!("not begun");
    };
    let forgotten = Target::whole((BackendId(3), Place::FIRST), "bucket", "k", version);
    assert_ne!(targets[0].backend, forgotten.backend);
    let all = [targets, vec![forgotten.clone()]].concat();
    let outcome = world.run(request(1, commit_call(carried("k", 10, version, all), 1)));
    assert_eq!(refused(&outcome), Some(ErrorCode::ServiceUnavailable));
    assert!(world.objects.is_empty() && world.intents.is_empty());
    assert!(world.cleanup.iter().any(|entry| entry.backend == forgotten.backend && !entry.uncertain));
}

#[test]
fn a_stray_intent_gives_its_reservation_back() {
    let mut world = World::default();
    world.put(1, "k", 10);
    world.begin(2, "k", 10, Conditions::default());
    let mut stray = claimed(&mut world, 2);
    world.intents.remove(&op(2));
    stray.op = op(1);
    world.intents.insert(op(1), stray.clone());
    let outcome = world.run(request(1, resolve_call(stray, false)));
    assert_eq!(outcome, Outcome::Resolved(Resolution::AlreadyResolved));
    assert!(world.intents.is_empty() && world.cleanup.is_empty());
}

#[test]
fn access_size_and_key_are_checked_before_anything_moves() {
    let mut world = World::default();
    let mut stranger = request(1, begin_call("k", 1, Conditions::default()));
    stranger.access_key = "stranger".into();
    assert_eq!(refused(&world.run(stranger)), Some(ErrorCode::AccessDenied));
    assert_eq!(refused(&world.begin(2, "k", 1001, Conditions::default())), Some(ErrorCode::EntityTooLarge));
    let long = "x".repeat(1025);
    assert_eq!(refused(&world.begin(3, &long, 1, Conditions::default())), Some(ErrorCode::KeyTooLong));
    assert!(world.intents.is_empty());
    let mut stranger = request(4, delete_call("k"));
    stranger.access_key = "stranger".into();
    assert_eq!(refused(&world.run(stranger)), Some(ErrorCode::AccessDenied));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin { write: u8, key: u8, size: u64, absent: bool },
    Retarget { write: u8 },
    Commit { write: u8, copies: usize, counts_places: bool },
    Abort { write: u8, end: u8 },
    Delete { op: u8, key: u8 },
    SetTags { op: u8, key: u8 },
    Claim { write: u8 },
    Resolve { write: u8, whole: bool },
    Clean,
    Move { backend: i32 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..12, 0_u8..3, 1_u64..40, any::<bool>())
            .prop_map(|(write, key, size, absent)| Step::Begin { write, key, size, absent }),
        2 => (0_u8..12).prop_map(|write| Step::Retarget { write }),
        4 => (0_u8..12, 0_usize..3, prop::bool::weighted(0.8))
            .prop_map(|(write, copies, counts_places)| Step::Commit { write, copies, counts_places }),
        2 => (0_u8..12, 0_u8..4).prop_map(|(write, end)| Step::Abort { write, end }),
        2 => (100_u8..108, 0_u8..3).prop_map(|(op, key)| Step::Delete { op, key }),
        1 => (110_u8..114, 0_u8..3).prop_map(|(op, key)| Step::SetTags { op, key }),
        1 => (0_u8..12).prop_map(|write| Step::Claim { write }),
        1 => (0_u8..12, any::<bool>()).prop_map(|(write, whole)| Step::Resolve { write, whole }),
        1 => Just(Step::Clean),
        1 => (1_i32..4).prop_map(|backend| Step::Move { backend }),
    ]
}

/// What the callers remember of their writes.
type Known = HashMap<u8, CarriedIntent>;

fn take(world: &mut World, known: &mut Known, step: Step) {
    match step {
        Step::Begin { write, key, size, absent } => {
            let (key, size) =
                known.get(&write).map_or((format!("k{key}"), size), |c| (c.key.clone(), c.size));
            let outcome =
                world.begin(write.into(), &key, size, Conditions { if_absent: absent, if_match: None });
            if let Outcome::Begun { version, targets, .. } = outcome {
                known.insert(write, carried(&key, size, version, targets));
            }
        }
        Step::Retarget { write } => {
            let Some(intent) = known.get_mut(&write) else { return };
            let call = Retarget { intent: intent.clone(), failed: intent.targets[0].backend, down: vec![] };
            if let Outcome::Retargeted(target) = world.run(request(write.into(), Call::Retarget(call))) {
                intent.targets.push(target);
            }
        }
        Step::Commit { write, copies, counts_places } => {
            let Some(mut intent) = known.get(&write).cloned() else { return };
            if !counts_places {
                intent.targets.iter_mut().for_each(|target| target.place = Place::from_number(0));
            }
            world.run(request(write.into(), commit_call(intent, copies)));
        }
        Step::Abort { write, end } => {
            let Some(intent) = known.get(&write).cloned() else { return };
            let end =
                [TargetEnd::NotSent, TargetEnd::Cut, TargetEnd::Stored, TargetEnd::Unknown][usize::from(end)];
            let targets = intent
                .targets
                .iter()
                .map(|target| FinishedTarget { target: target.id(), end, backend_version: None })
                .collect();
            world.run(request(write.into(), Call::Abort(Abort { intent, targets })));
        }
        Step::Delete { op, key } => {
            world.run(request(op.into(), delete_call(&format!("k{key}"))));
        }
        Step::SetTags { op, key } => {
            world.run(request(op.into(), set_tags::call(&format!("k{key}"), &[("n", &op.to_string())])));
        }
        Step::Claim { write } => {
            if world.intents.contains_key(&op(write.into())) {
                claimed(world, write.into());
            }
        }
        Step::Resolve { write, whole } => {
            if let Some(intent) = world.intents.get(&op(write.into())).cloned() {
                world.run(request(write.into(), resolve_call(intent, whole)));
            }
        }
        Step::Move { backend } => world.move_backend(BackendId(backend)),
        Step::Clean => {
            for entry in std::mem::take(&mut world.cleanup) {
                let freed = Usage { orphaned: -signed(entry.size), ..Usage::default() };
                *world.usage.entry(entry.backend).or_default() += freed;
            }
        }
    }
}

proptest! {
    /// `World::run` audits after every step: bytes, quotas, one outcome an operation, no blob queued twice, no
    /// blob that counts where its backend is not.
    #[test]
    fn every_byte_is_accounted_for(history in prop::collection::vec(steps(), 1..80)) {
        let mut world = World { quota: Some(100), ..World::default() };
        let mut known = Known::new();
        for step in history {
            take(&mut world, &mut known, step);
        }
    }

    /// A blob that a copy row names is never queued for deletion.
    #[test]
    fn no_live_blob_is_ever_queued(history in prop::collection::vec(steps(), 1..80)) {
        let mut world = World::default();
        let mut known = Known::new();
        for step in history {
            take(&mut world, &mut known, step);
            let live: Vec<(BackendId, BlobName)> = world.copies.iter().map(|c| (c.backend, c.blob)).collect();
            prop_assert!(world.cleanup.iter().all(|entry| !live.contains(&(entry.backend, entry.blob))));
        }
    }
}
