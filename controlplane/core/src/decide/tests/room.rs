//! Where a worker's copy may go: what holds for clients' writes holds for it too.

use s3o_types::{BackendId, Consumption, ErrorCode};

use super::world::{World, refused};
use crate::call::Outcome;

/// Where a copy was begun.
fn target(begun: &Outcome) -> Option<BackendId> {
    match begun {
        Outcome::Begun { targets, .. } => targets.first().map(|target| target.backend),
        _ => None,
    }
}

/// A world in which `k` has one copy, on this backend, and two are wanted.
fn one_of_two() -> (World, BackendId) {
    let mut world = World { more_copies: 1, ..World::default() };
    world.put(1, "k", 10);
    let only = world.copies[0].backend;
    (world, only)
}

/// Those that do not hold it.
fn others(only: BackendId) -> [BackendId; 2] {
    let mut others = [1, 2, 3].map(BackendId).into_iter().filter(|id| *id != only);
    [others.next(), others.next()].map(|id| id.expect("three backends"))
}

#[test]
fn a_copy_has_room_or_is_not_begun() {
    let mut world = World { more_copies: 1, quota: Some(15), ..World::default() };
    for (n, key) in (1..).zip(["a", "b", "c"]) {
        world.put(n, key, 10);
    }
    let refusal = refused(&world.begin_copy(4, "a"));
    assert_eq!(refusal, Some(ErrorCode::InsufficientStorage), "each has 5 bytes left");
    assert!(world.intents.is_empty(), "nothing is reserved by it");
    world.quota = Some(20);
    let of_a = target(&world.begin_copy(5, "a"));
    let of_b = target(&world.begin_copy(6, "b"));
    assert!(of_a.is_some() && of_b.is_some() && of_a != of_b, "what is reserved counts: {of_a:?} {of_b:?}");
    assert!(refused(&world.begin_copy(7, "c")).is_some(), "the one with room has it already");
}

#[test]
fn a_copy_goes_where_the_month_has_bytes_left() {
    let (mut world, only) = one_of_two();
    let [over, other] = others(only);
    world.limits.ingress_bytes = Some(100);
    let used = |ingress_bytes| Consumption { ingress_bytes, ..Consumption::default() };
    world.months = [(over, used(91)), (other, used(90))].into();
    assert_eq!(target(&world.begin_copy(2, "k")), Some(other));
    let (mut world, only) = one_of_two();
    world.limits.ingress_bytes = Some(100);
    world.months = others(only).map(|id| (id, used(91))).into();
    assert_eq!(refused(&world.begin_copy(2, "k")), Some(ErrorCode::InsufficientStorage));
    assert!(world.intents.is_empty(), "nothing is reserved by it");
}

#[test]
fn a_copy_goes_where_blobs_of_its_size_are_taken() {
    let (mut world, only) = one_of_two();
    let [small, large] = others(only);
    world.largest = [(small, 9), (large, 10)].into();
    assert_eq!(target(&world.begin_copy(2, "k")), Some(large));
    let (mut world, only) = one_of_two();
    world.largest = others(only).map(|id| (id, 9)).into();
    assert!(refused(&world.begin_copy(2, "k")).is_some(), "no other one takes it");
    assert!(world.intents.is_empty());
}

#[test]
fn a_copy_goes_to_no_backend_that_is_drained() {
    let (mut world, only) = one_of_two();
    let [drained, active] = others(only);
    world.draining.insert(drained);
    assert_eq!(target(&world.begin_copy(2, "k")), Some(active));
    let (mut world, only) = one_of_two();
    world.draining.extend(others(only));
    assert!(refused(&world.begin_copy(2, "k")).is_some(), "all others are drained");
    assert!(world.intents.is_empty());
    // Of what is on a drained one a copy is made all the same, elsewhere.
    let (mut world, only) = one_of_two();
    world.draining.insert(only);
    let elsewhere = target(&world.begin_copy(2, "k"));
    assert!(elsewhere.is_some_and(|id| id != only), "{elsewhere:?}");
}
