//! The rules against a model of the tables: random histories of calls, repeats and crashes keep every
//! byte accounted for, and each rule has its own small case.

mod copies;
mod expire;
mod give_up;
mod lock;
mod places;
mod reconcile;
mod room;
mod set_tags;
mod uploads;
mod versions;
mod world;

use std::collections::HashMap;

use proptest::prelude::*;
use s3o_types::{BackendId, BlobName, Conditions, ErrorCode, Etag, ObjectAttributes, Place, Timestamp};

use self::world::{
    BUCKET, REAPER, World, begin_call, carried, commit_call, delete_call, op, refused, request,
};
use crate::call::{
    Abort, Call, CarriedIntent, FinishedTarget, Found, Outcome, Resolution, Resolve, Retarget,
};
use crate::intent::{Intent, Target, TargetEnd};
use crate::usage::{Usage, signed};

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
    assert_eq!(
        world.run(request(2, delete_call("k"))),
        Outcome::Deleted { existed: true, version: None, delete_marker: false }
    );
    world.put(3, "k", 2);
    assert_eq!(
        world.run(request(2, delete_call("k"))),
        Outcome::Deleted { existed: true, version: None, delete_marker: false }
    );
    assert!(world.objects.contains_key("k"));
    assert_eq!(
        world.run(request(4, delete_call("x"))),
        Outcome::Deleted { existed: false, version: None, delete_marker: false }
    );
    world.put(5, "x", 2);
    assert_eq!(
        world.run(request(4, delete_call("x"))),
        Outcome::Deleted { existed: false, version: None, delete_marker: false }
    );
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
    let target = Target::new((copy.backend, Place::FIRST), "bucket", "k", copy.blob);
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
    let forgotten = Target::new((BackendId(3), Place::FIRST), "bucket", "k", BlobName::first(version));
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

#[test]
fn a_scope_allows_single_rights_under_its_prefix() {
    use s3o_types::{Right, Rights, Scope};
    let mut world = World::default();
    world.put(1, "drop/old", 5);
    let asking = ("scoped".to_owned(), BUCKET);
    let rights = Rights::NONE.with(Right::Write);
    world.scopes.insert(asking, vec![Scope { prefix: "drop/".into(), rights }]);
    let mut ask = |n, call| {
        let request = crate::call::Request { access_key: "scoped".into(), ..request(n, call) };
        refused(&world.run(request))
    };
    let denied = Some(ErrorCode::AccessDenied);
    assert_eq!(ask(2, begin_call("drop/a", 1, Conditions::default())), None);
    assert_eq!(ask(3, begin_call("dro", 1, Conditions::default())), denied);
    assert_eq!(ask(4, delete_call("drop/old")), denied, "write is not delete");
    assert!(world.objects.contains_key("drop/old"));
}
