//! Backends that move: a blob counts only where its intent meant it, its writer put it, and its backend is.

use s3o_types::{BackendId, Conditions, ErrorCode, Place};

use super::{World, carried, claimed, commit_call, refused, request, resolve_call};
use crate::call::{Abort, Call, FinishedTarget, Outcome, Resolution, Retarget};
use crate::intent::TargetEnd;

#[test]
fn a_blob_at_a_place_of_the_past_is_refused_for_good_and_queued() {
    let mut world = World::default();
    let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
        panic!("not begun");
    };
    world.move_backend(targets[0].backend);
    let commit = commit_call(carried("k", 10, version, targets.clone()), 1);
    assert_eq!(refused(&world.run(request(1, commit.clone()))), Some(ErrorCode::WriteLost));
    assert!(world.objects.is_empty() && world.intents.is_empty());
    assert!(world.cleanup[0].uncertain, "it may be copied to the new place yet");
    // The repeat, also when the backend is back by then, and also as an Abort: the first outcome.
    world.moves.clear();
    assert_eq!(refused(&world.run(request(1, commit))), Some(ErrorCode::WriteLost));
    let abort = Call::Abort(Abort { intent: carried("k", 10, version, targets), targets: vec![] });
    assert_eq!(refused(&world.run(request(1, abort))), Some(ErrorCode::WriteLost));
    assert_eq!(world.cleanup.len(), 1);
}

#[test]
fn a_backend_that_moved_does_not_hinder_a_write_to_another() {
    let mut world = World::default();
    let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
        panic!("not begun");
    };
    world.move_backend(targets[0].backend);
    let intent = carried("k", 10, version, targets.clone());
    let retarget = Call::Retarget(Retarget { intent, failed: targets[0].backend, down: vec![] });
    let Outcome::Retargeted(added) = world.run(request(1, retarget)) else { panic!("not retargeted") };
    let all = [targets, vec![added]].concat();
    let committed = world.run(request(1, commit_call(carried("k", 10, version, all), 1)));
    assert!(matches!(committed, Outcome::Committed { .. }), "{committed:?}");
}

#[test]
fn a_caller_that_does_not_count_places_counts_only_where_no_backend_ever_moved() {
    let mut world = World::default();
    assert!(matches!(world.put(1, "k", 10), Outcome::Committed { .. }));
    [1, 2, 3].map(BackendId).into_iter().for_each(|id| world.move_backend(id));
    let Outcome::Begun { version, mut targets, .. } = world.begin(2, "k", 5, Conditions::default()) else {
        panic!("not begun");
    };
    assert_eq!(targets[0].place, Place::from_number(2));
    // What the wire makes of a number that is not there.
    targets[0].place = Place::from_number(0);
    // Such a caller is not given the target that failed a second time.
    let intent = carried("k", 5, version, targets.clone());
    let retarget = Call::Retarget(Retarget { intent, failed: targets[0].backend, down: vec![] });
    let Outcome::Retargeted(added) = world.run(request(2, retarget)) else { panic!("not retargeted") };
    assert_ne!(added.backend, targets[0].backend);
    let commit = commit_call(carried("k", 5, version, targets), 1);
    assert_eq!(refused(&world.run(request(2, commit))), Some(ErrorCode::WriteLost));
    assert_eq!(world.objects["k"].size, 10);
}

#[test]
fn the_reaper_never_promotes_what_lies_at_a_place_of_the_past() {
    let mut world = World::default();
    let Outcome::Begun { targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
        panic!("not begun");
    };
    let intent = claimed(&mut world, 1);
    world.move_backend(targets[0].backend);
    assert_eq!(world.run(request(1, resolve_call(intent, true))), Outcome::Resolved(Resolution::Dropped));
    assert!(world.objects.is_empty());
    assert_eq!(world.cleanup.len(), 1);
    assert!(world.cleanup[0].uncertain, "the blob that was found may be copied to the new place yet");
}

#[test]
fn what_is_given_up_at_a_place_of_the_past_is_uncertain() {
    let end_of = |end| {
        let mut world = World::default();
        let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 10, Conditions::default()) else {
            panic!("not begun");
        };
        world.move_backend(targets[0].backend);
        let finished = FinishedTarget { target: targets[0].id(), end, backend_version: None };
        let abort = Abort { intent: carried("k", 10, version, targets), targets: vec![finished] };
        assert_eq!(world.run(request(1, Call::Abort(abort))), Outcome::Aborted);
        world.cleanup.iter().map(|entry| entry.uncertain).collect::<Vec<_>>()
    };
    assert_eq!(end_of(TargetEnd::Stored), [true], "it may be copied to the new place yet");
    assert_eq!(end_of(TargetEnd::Cut), [true]);
    assert!(end_of(TargetEnd::NotSent).is_empty(), "nothing was ever there");
}
