//! Versions against a plain model of what S3 says of them: a list of rows a key, the newest last.

use std::collections::BTreeMap;

use proptest::prelude::*;
use s3o_types::{Seq, VersionId, VersionRef, Versioning};

use super::set_tags::call as tags_call;
use super::*;
use crate::call::{CompleteUpload, CreateUpload, Delete, Request};
use crate::object::ObjectRow;

fn delete_version(key: &str, version: VersionRef) -> Call {
    let Call::Delete(delete) = delete_call(key) else { panic!("a delete") };
    Call::Delete(Delete { version: Some(version), ..delete })
}

fn tag_version(key: &str, version: Option<VersionRef>, tag: &str) -> Call {
    let Call::SetTags(set) = tags_call(key, &[("t", tag)]) else { panic!("tags") };
    Call::SetTags(crate::call::SetTags { version, ..set })
}

fn told(outcome: &Outcome) -> Option<VersionRef> {
    match outcome {
        Outcome::Committed { version, .. }
        | Outcome::Deleted { version, .. }
        | Outcome::TagsSet { version } => *version,
        other => panic!("{other:?}"),
    }
}

fn versioned(versioning: Versioning) -> World {
    World { versioning, ..World::default() }
}

#[test]
fn an_enabled_bucket_keeps_what_is_overwritten_and_deleted() {
    let mut world = versioned(Versioning::Enabled);
    let first = told(&world.put(1, "k", 10)).expect("an id");
    let second = told(&world.put(2, "k", 20)).expect("an id");
    assert!(first != second && first != VersionRef::Null);
    assert_eq!((world.copies.len(), world.cleanup.len(), world.noncurrent.len()), (2, 0, 1));
    let marked = world.run(request(3, delete_call("k")));
    let Outcome::Deleted { existed: true, version: Some(marker), delete_marker: true } = marked else {
        panic!("{marked:?}")
    };
    assert!(!world.objects.contains_key("k") && world.cleanup.is_empty());
    // A delete of what is deleted makes a marker too, and so does one of what never was.
    let again = told(&world.run(request(4, delete_call("k"))));
    assert!(again.is_some() && again != Some(marker));
    assert!(told(&world.run(request(5, delete_call("never")))).is_some());
    // Without its markers the last version is current again.
    for (n, marker) in [(6, again.expect("one")), (7, marker)] {
        assert!(!world.objects.contains_key("k"));
        let removed = world.run(request(n, delete_version("k", marker)));
        assert_eq!(removed, Outcome::Deleted { existed: true, version: Some(marker), delete_marker: true });
    }
    assert_eq!(VersionRef::Id(world.objects["k"].version), second);
    assert!(world.cleanup.is_empty());
    // Without it, the one before; and every blob that is gone is queued.
    let removed = world.run(request(8, delete_version("k", second)));
    assert_eq!(removed, Outcome::Deleted { existed: true, version: Some(second), delete_marker: false });
    assert_eq!(VersionRef::Id(world.objects["k"].version), first);
    world.run(request(9, delete_version("k", first)));
    assert!(world.objects.is_empty() && world.copies.is_empty());
    assert_eq!(world.cleanup.len(), 2);
    let nothing = world.run(request(10, delete_version("k", first)));
    assert_eq!(nothing, Outcome::Deleted { existed: false, version: None, delete_marker: false });
}

#[test]
fn the_null_version_is_one_and_the_others_stay() {
    let mut world = versioned(Versioning::Off);
    assert_eq!(told(&world.put(1, "k", 1)), None);
    world.versioning = Versioning::Enabled;
    let id = told(&world.put(2, "k", 2)).expect("an id");
    assert_eq!((world.copies.len(), world.cleanup.len()), (2, 0), "the null version stays below");
    world.versioning = Versioning::Suspended;
    assert_eq!(told(&world.put(3, "k", 3)), Some(VersionRef::Null));
    assert_eq!((world.copies.len(), world.cleanup.len()), (2, 1), "the null version of before is gone");
    assert_eq!(told(&world.run(request(4, delete_call("k")))), Some(VersionRef::Null));
    assert_eq!((world.copies.len(), world.cleanup.len()), (1, 2), "a null marker took its place");
    // Another null marker replaces the one there is.
    assert_eq!(told(&world.run(request(5, delete_call("k")))), Some(VersionRef::Null));
    assert_eq!(world.noncurrent.len(), 2);
    world.versioning = Versioning::Enabled;
    world.put(6, "k", 6);
    let removed = world.run(request(7, delete_version("k", VersionRef::Null)));
    assert_eq!(
        removed,
        Outcome::Deleted { existed: true, version: Some(VersionRef::Null), delete_marker: true }
    );
    assert_eq!(
        world.noncurrent.values().map(|(row, _)| VersionRef::Id(row.version)).collect::<Vec<_>>(),
        [id]
    );
}

#[test]
fn a_bucket_that_was_never_versioned_has_null_versions_only() {
    let mut world = World::default();
    world.put(1, "k", 1);
    let id = VersionRef::Id(world.objects["k"].version);
    let nothing = Outcome::Deleted { existed: false, version: None, delete_marker: false };
    assert_eq!(world.run(request(2, delete_version("k", id))), nothing, "its own id is no name");
    assert_eq!(
        refused(&world.run(request(3, tag_version("k", Some(id), "x")))),
        Some(ErrorCode::NoSuchVersion)
    );
    world.run(request(4, tag_version("k", Some(VersionRef::Null), "x")));
    assert_eq!(world.objects["k"].attributes.tags["t"], "x");
    let gone = Outcome::Deleted { existed: true, version: None, delete_marker: false };
    assert_eq!(world.run(request(5, delete_version("k", VersionRef::Null))), gone);
    assert!(world.objects.is_empty() && world.noncurrent.is_empty());
}

#[test]
fn conditions_look_at_the_current_version_only() {
    let mut world = versioned(Versioning::Enabled);
    world.put(1, "k", 1);
    world.run(request(2, delete_call("k")));
    let absent = Conditions { if_absent: true, if_match: None };
    let matching = Conditions { if_absent: false, if_match: Some(Etag::new("e")) };
    assert_eq!(refused(&world.begin(3, "k", 1, matching.clone())), Some(ErrorCode::NoSuchKey));
    let Outcome::Begun { version, targets, .. } = world.begin(4, "k", 1, absent.clone()) else { panic!() };
    let commit = CarriedIntent { conditions: absent, ..carried("k", 1, version, targets) };
    assert!(told(&world.run(request(4, commit_call(commit, 1)))).is_some());
    let Call::Delete(delete) = delete_call("k") else { panic!() };
    let other = Conditions { if_absent: false, if_match: Some(Etag::new("other")) };
    let delete = |conditions| Call::Delete(Delete { conditions, ..delete.clone() });
    assert_eq!(refused(&world.run(request(5, delete(other)))), Some(ErrorCode::PreconditionFailed));
    assert!(told(&world.run(request(6, delete(matching.clone())))).is_some());
    assert_eq!(refused(&world.run(request(7, delete(matching)))), Some(ErrorCode::NoSuchKey));
}

#[test]
fn tags_are_those_of_one_version() {
    let mut world = versioned(Versioning::Enabled);
    let first = told(&world.put(1, "k", 1));
    let second = told(&world.put(2, "k", 2));
    assert_eq!(told(&world.run(request(3, tag_version("k", first, "old")))), first);
    assert_eq!(told(&world.run(request(4, tag_version("k", None, "new")))), second);
    let old = world.noncurrent.values().next().expect("one");
    assert_eq!(
        (old.0.attributes.tags["t"].as_str(), world.objects["k"].attributes.tags["t"].as_str()),
        ("old", "new")
    );
    let marker = told(&world.run(request(5, delete_call("k"))));
    assert_eq!(
        refused(&world.run(request(6, tag_version("k", marker, "x")))),
        Some(ErrorCode::MethodNotAllowed)
    );
    assert_eq!(refused(&world.run(request(7, tag_version("k", None, "x")))), Some(ErrorCode::NoSuchKey));
    assert_eq!(
        refused(&world.run(request(8, tag_version("k", Some(VersionRef::Null), "x")))),
        Some(ErrorCode::NoSuchVersion)
    );
}

#[test]
fn the_reaper_makes_versions_and_gives_way_to_markers() {
    let mut world = versioned(Versioning::Enabled);
    world.put(1, "k", 1);
    world.begin(2, "k", 2, Conditions::default());
    let promoted = claimed(&mut world, 2);
    let outcome = world.run(request(2, resolve_call(promoted, true)));
    assert_eq!(outcome, Outcome::Resolved(Resolution::Promoted));
    assert_eq!((world.noncurrent.len(), world.copies.len(), world.objects["k"].size), (1, 2, 2));
    let id = VersionRef::Id(world.objects["k"].version);
    let late = Outcome::Committed {
        seq: world.objects["k"].seq,
        modified: world.objects["k"].modified,
        version: Some(id),
    };
    let commit = commit_call(carried("k", 2, world.objects["k"].version, vec![]), 0);
    assert_eq!(world.run(request(2, commit)), late);
    for (n, call) in [(3, delete_call("k")), (5, delete_version("k", id))] {
        world.begin(n, "k", 3, Conditions::default());
        world.run(request(n + 1, call));
        let overtaken = claimed(&mut world, n);
        assert_eq!(
            world.run(request(n, resolve_call(overtaken, true))),
            Outcome::Resolved(Resolution::Superseded)
        );
    }
}

#[test]
fn a_completed_upload_is_a_version_and_says_so_again() {
    let mut world = versioned(Versioning::Suspended);
    world.put(1, "k", 1);
    let create = CreateUpload {
        bucket: BUCKET,
        key: "k".into(),
        attributes: ObjectAttributes::default(),
        checksum: None,
    };
    world.run(request(2, Call::CreateUpload(create)));
    let id = s3o_types::UploadId(op(2).id);
    let Call::Begin(begin) = begin_call("k", 4, Conditions::default()) else { panic!() };
    let part = crate::call::PartOf { upload: id, number: s3o_types::Extent::new(1).expect("1") };
    let begin = crate::call::Begin { kind: crate::intent::WriteKind::Part, part: Some(part), ..begin };
    let Outcome::Begun { version, targets, .. } = world.run(request(3, Call::Begin(begin))) else { panic!() };
    let intent = CarriedIntent { upload: Some(id), ..carried("k", 4, version, targets) };
    world.run(request(3, commit_call(intent, 1)));
    world.versioning = Versioning::Enabled;
    let complete = |n| {
        let complete = CompleteUpload {
            bucket: BUCKET,
            key: "k".into(),
            upload: id,
            conditions: Conditions::default(),
            etag: Etag::new("e-1"),
            checksums: s3o_types::Checksums::default(),
            parts: vec![(part.number, s3o_types::Gen::default())],
        };
        request(n, Call::CompleteUpload(Box::new(complete)))
    };
    let done = world.run(complete(4));
    assert_eq!(told(&done), Some(VersionRef::Id(version)));
    assert_eq!((world.noncurrent.len(), world.copies.len()), (1, 2));
    world.versioning = Versioning::Suspended;
    assert_eq!(world.run(complete(5)), done, "what it became is remembered as it was told");
}

#[test]
fn a_repeat_is_told_of_the_same_version() {
    let mut world = versioned(Versioning::Enabled);
    let Outcome::Begun { version, targets, .. } = world.begin(1, "k", 1, Conditions::default()) else {
        panic!()
    };
    let commit = commit_call(carried("k", 1, version, targets), 1);
    let committed = world.run(request(1, commit.clone()));
    let marked = world.run(request(2, delete_call("k")));
    let removed = world.run(request(3, delete_version("k", told(&marked).expect("one"))));
    world.versioning = Versioning::Suspended;
    let before = (world.objects.clone(), world.noncurrent.clone());
    assert_eq!(world.run(request(1, commit)), committed);
    assert_eq!(world.run(request(2, delete_call("k"))), marked);
    assert_eq!(world.run(request(3, delete_version("k", told(&marked).expect("one")))), removed);
    assert_eq!((world.objects, world.noncurrent), before);
}

/// What a client can see of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    name: VersionRef,
    /// The size of the write; `None` for a marker.
    size: Option<u64>,
    tag: Option<String>,
}

/// S3's rules, said as plainly as they can be.
#[derive(Default)]
struct Plain {
    rows: BTreeMap<String, Vec<Row>>,
}

impl Plain {
    fn write(&mut self, versioning: Versioning, key: &str, name: VersionRef, size: Option<u64>) {
        let rows = self.rows.entry(key.to_owned()).or_default();
        if versioning != Versioning::Enabled {
            rows.retain(|row| row.name != VersionRef::Null);
        }
        if versioning != Versioning::Off || size.is_some() {
            rows.push(Row { name, size, tag: None });
        }
    }

    fn current(&self, key: &str) -> Option<&Row> {
        self.rows.get(key)?.last().filter(|row| row.size.is_some())
    }

    fn named(&self, key: &str, name: VersionRef) -> Option<&Row> {
        self.rows.get(key)?.iter().find(|row| row.name == name)
    }
}

fn seen(row: &ObjectRow, delete_marker: bool) -> Row {
    Row {
        name: VersionRef::of(row.version, row.is_null),
        size: (!delete_marker).then_some(row.size),
        tag: row.attributes.tags.get("t").cloned(),
    }
}

/// The tables as a client sees them.
fn rows(world: &World) -> BTreeMap<String, Vec<Row>> {
    let mut rows: BTreeMap<String, Vec<(Seq, Row)>> = BTreeMap::new();
    for ((key, seq), (row, delete_marker)) in &world.noncurrent {
        rows.entry(key.clone()).or_default().push((*seq, seen(row, *delete_marker)));
    }
    for (key, row) in &world.objects {
        rows.entry(key.clone()).or_default().push((row.seq, seen(row, false)));
    }
    rows.into_iter().map(|(key, rows)| (key, rows.into_iter().map(|(_, row)| row).collect())).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Turn {
        enable: bool,
    },
    Put {
        key: u8,
        absent: bool,
    },
    Delete {
        key: u8,
    },
    DeleteVersion {
        key: u8,
        pick: u8,
    },
    Tag {
        key: u8,
        pick: Option<u8>,
    },
    /// The call of before, sent again.
    Repeat {
        back: u8,
    },
    Reap {
        key: u8,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any::<bool>().prop_map(|enable| Step::Turn { enable }),
        4 => (0_u8..3, prop::bool::weighted(0.2)).prop_map(|(key, absent)| Step::Put { key, absent }),
        3 => (0_u8..3).prop_map(|key| Step::Delete { key }),
        4 => (0_u8..3, any::<u8>()).prop_map(|(key, pick)| Step::DeleteVersion { key, pick }),
        1 => (0_u8..3, prop::option::of(any::<u8>())).prop_map(|(key, pick)| Step::Tag { key, pick }),
        1 => (1_u8..6).prop_map(|back| Step::Repeat { back }),
        1 => (0_u8..3).prop_map(|key| Step::Reap { key }),
    ]
}

/// One that the key has, or `null`, or one that it never had.
fn pick(plain: &Plain, key: &str, pick: u8) -> VersionRef {
    let rows = plain.rows.get(key).map(Vec::as_slice).unwrap_or_default();
    match usize::from(pick) % (rows.len() + 2) {
        0 => VersionRef::Null,
        1 => VersionRef::Id(VersionId::mint(u64::MAX, 1)),
        n => rows[n - 2].name,
    }
}

struct Both {
    world: World,
    plain: Plain,
    sent: Vec<(Request, Outcome)>,
}

impl Both {
    fn send(&mut self, call: Call) -> Outcome {
        let n = 1000 + u128::try_from(self.sent.len()).expect("small");
        let request = request(n, call);
        let outcome = self.world.run(request.clone());
        self.sent.push((request, outcome.clone()));
        outcome
    }

    fn put(&mut self, key: &str, absent: bool) {
        let conditions = Conditions { if_absent: absent, if_match: None };
        let (n, size) =
            (1000 + u128::try_from(self.sent.len()).expect("small"), self.sent.len() as u64 % 9 + 1);
        let begun = self.world.begin(n, key, size, conditions.clone());
        let exists = self.plain.current(key).is_some();
        let Outcome::Begun { version, targets, .. } = begun else {
            assert!(absent && exists, "{begun:?}");
            return;
        };
        let intent = CarriedIntent { conditions, ..carried(key, size, version, targets) };
        let outcome = self.send(commit_call(intent, 1));
        let name = VersionRef::of(version, self.world.versioning != Versioning::Enabled);
        assert_eq!(told(&outcome), self.world.versioning.is_versioned().then_some(name));
        self.plain.write(self.world.versioning, key, name, Some(size));
    }

    fn delete(&mut self, key: &str) {
        let outcome = self.send(delete_call(key));
        let Outcome::Deleted { existed, version, delete_marker } = outcome else { panic!("{outcome:?}") };
        let versioning = self.world.versioning;
        assert_eq!(delete_marker, versioning.is_versioned());
        assert_eq!(version.is_some(), versioning.is_versioned());
        if versioning == Versioning::Off {
            assert_eq!(existed, self.plain.current(key).is_some());
        }
        self.plain.write(versioning, key, version.unwrap_or(VersionRef::Null), None);
    }

    fn delete_version(&mut self, key: &str, name: VersionRef) {
        let known = self.plain.named(key, name).cloned();
        let outcome = self.send(delete_version(key, name));
        let Outcome::Deleted { existed, version, delete_marker } = outcome else { panic!("{outcome:?}") };
        assert_eq!(existed, known.is_some());
        assert_eq!(delete_marker, known.as_ref().is_some_and(|row| row.size.is_none()));
        let told = known.is_some() && self.world.versioning.is_versioned();
        assert_eq!(version, told.then_some(name));
        if let Some(rows) = self.plain.rows.get_mut(key) {
            rows.retain(|row| row.name != name);
        }
    }

    fn tag(&mut self, key: &str, name: Option<VersionRef>) {
        let tag = format!("{}", self.sent.len());
        let known = match name {
            None => self.plain.current(key).cloned(),
            Some(name) => self.plain.named(key, name).cloned(),
        };
        let outcome = self.send(tag_version(key, name, &tag));
        match (known, name) {
            (None, None) => assert_eq!(refused(&outcome), Some(ErrorCode::NoSuchKey)),
            (None, Some(_)) => assert_eq!(refused(&outcome), Some(ErrorCode::NoSuchVersion)),
            (Some(Row { size: None, .. }), _) => {
                assert_eq!(refused(&outcome), Some(ErrorCode::MethodNotAllowed));
            }
            (Some(known), _) => {
                assert_eq!(told(&outcome), self.world.versioning.is_versioned().then_some(known.name));
                let rows = self.plain.rows.get_mut(key).expect("the key");
                rows.iter_mut().find(|row| row.name == known.name).expect("the row").tag = Some(tag);
            }
        }
    }

    fn reap(&mut self, key: &str) {
        let n = 1000 + u128::try_from(self.sent.len()).expect("small");
        let Outcome::Begun { version, .. } = self.world.begin(n, key, 3, Conditions::default()) else {
            panic!()
        };
        let intent = claimed(&mut self.world, n);
        let outcome = self.send(resolve_call(intent, true));
        assert_eq!(outcome, Outcome::Resolved(Resolution::Promoted));
        let name = VersionRef::of(version, self.world.versioning != Versioning::Enabled);
        self.plain.write(self.world.versioning, key, name, Some(3));
    }

    fn take(&mut self, step: &Step) {
        let name = |key: &u8| format!("k{key}");
        match step {
            Step::Turn { enable: true } => self.world.versioning = Versioning::Enabled,
            Step::Turn { enable: false } if self.world.versioning.is_versioned() => {
                self.world.versioning = Versioning::Suspended;
            }
            Step::Turn { enable: false } => {}
            Step::Put { key, absent } => self.put(&name(key), *absent),
            Step::Delete { key } => self.delete(&name(key)),
            Step::DeleteVersion { key, pick: n } => {
                let picked = pick(&self.plain, &name(key), *n);
                self.delete_version(&name(key), picked);
            }
            Step::Tag { key, pick: n } => {
                let picked = n.map(|n| pick(&self.plain, &name(key), n));
                self.tag(&name(key), picked);
            }
            Step::Repeat { back } => {
                let repeated = self.sent.len().checked_sub(usize::from(*back)).and_then(|n| self.sent.get(n));
                if let Some((request, outcome)) = repeated.cloned()
                    && refused(&outcome).is_none()
                {
                    assert_eq!(self.world.run(request), outcome);
                }
            }
            Step::Reap { key } => self.reap(&name(key)),
        }
        self.plain.rows.retain(|_, rows| !rows.is_empty());
        assert_eq!(rows(&self.world), self.plain.rows);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Every step audits the model of the tables too.
    #[test]
    fn any_history_of_versions_is_what_s3_says(history in prop::collection::vec(steps(), 1..60)) {
        let mut both = Both { world: World::default(), plain: Plain::default(), sent: vec![] };
        for step in &history {
            both.take(step);
        }
    }
}
