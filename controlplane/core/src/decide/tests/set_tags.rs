//! Tags change the row and nothing around it.

use super::*;
use crate::call::SetTags;
use crate::outcome_log::Logged;

pub(super) fn call(key: &str, tags: &[(&str, &str)]) -> Call {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Call::SetTags(SetTags { bucket: BUCKET, key: key.into(), tags, version: None })
}

#[test]
fn only_the_tags_change_and_the_log_has_the_row() {
    let mut world = World::default();
    world.put(1, "k", 10);
    let before = world.objects["k"].clone();
    assert_eq!(world.run(request(2, call("k", &[("a", "1")]))), Outcome::TagsSet { version: None });
    let mut expected = before;
    expected.attributes.tags.insert("a".into(), "1".into());
    assert_eq!(world.objects["k"], expected);
    let change = world.changes.last().expect("a change");
    assert_eq!((change.logged, change.version), (Logged::TagsSet, Some(expected.version)));
    assert_eq!(change.object.as_ref(), Some(&expected));
    assert!(change.seq > expected.seq && world.cleanup.is_empty());
    assert_eq!(world.run(request(3, call("k", &[]))), Outcome::TagsSet { version: None });
    assert!(world.objects["k"].attributes.tags.is_empty());
}

#[test]
fn a_repeat_does_not_touch_what_came_in_between() {
    let mut world = World::default();
    world.put(1, "k", 10);
    world.run(request(2, call("k", &[("a", "1")])));
    world.run(request(3, call("k", &[("b", "2")])));
    let after = world.objects["k"].clone();
    assert_eq!(world.run(request(2, call("k", &[("a", "1")]))), Outcome::TagsSet { version: None });
    world.put(4, "k", 11);
    assert_eq!(world.run(request(3, call("k", &[("b", "2")]))), Outcome::TagsSet { version: None });
    assert!(world.objects["k"].attributes.tags.is_empty() && after.attributes.tags["b"] == "2");
}

#[test]
fn what_is_not_there_or_not_ours_gets_none() {
    let mut world = World::default();
    assert_eq!(refused(&world.run(request(1, call("k", &[("a", "1")])))), Some(ErrorCode::NoSuchKey));
    world.put(2, "k", 10);
    let mut stranger = request(3, call("k", &[("a", "1")]));
    stranger.access_key = "stranger".into();
    assert_eq!(refused(&world.run(stranger)), Some(ErrorCode::AccessDenied));
    world.run(request(4, delete_call("k")));
    assert_eq!(refused(&world.run(request(5, call("k", &[("a", "1")])))), Some(ErrorCode::NoSuchKey));
    // Nothing was done for it, so its repeat is decided anew.
    world.put(6, "k", 10);
    assert_eq!(world.run(request(5, call("k", &[("a", "1")]))), Outcome::TagsSet { version: None });
}

/// The upload that the reaper finds began before the tags were set, and takes the version with them away.
#[test]
fn tags_do_not_overtake_an_upload() {
    let mut world = World::default();
    world.put(1, "k", 10);
    world.begin(2, "k", 10, Conditions::default());
    world.run(request(3, call("k", &[("a", "1")])));
    let intent = claimed(&mut world, 2);
    assert_eq!(world.run(request(2, resolve_call(intent, true))), Outcome::Resolved(Resolution::Promoted));
}
