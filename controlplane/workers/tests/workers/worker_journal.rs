//! The journal's worker: segments, snapshots, and what happens when a backend or the claim is lost half-way.

use std::time::Duration;

use bytes::Bytes;
use s3o_blob::journal::{JournalFile, JournalName, JournalPart, JournalWriter};
use s3o_core::journal::{JournalChores, JournalStep, LogPlace, RowPlace, StoredFile};
use s3o_core::worker::Counts;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::BackendId;

use crate::fakes::{Fixture, State, mark, row, spec};

pub(crate) async fn two() -> (FaultyBackend, FaultyBackend, Fixture) {
    let (one, two) = (FaultyBackend::start().await.unwrap(), FaultyBackend::start().await.unwrap());
    mark(&one, 1);
    mark(&two, 2);
    let rows = vec![row(spec(&one, 1), true), row(spec(&two, 2), true)];
    let fixture = Fixture::start(rows, State::default());
    // The tick of the start finds nothing.
    fixture.run("journal").await;
    (one, two, fixture)
}

pub(crate) fn change(n: i64) -> (LogPlace, String) {
    (LogPlace { xid: 10, n }, format!("{{\"k\":\"gone\",\"n\":{n}}}"))
}

fn files(server: &FaultyBackend) -> Vec<(JournalName, JournalFile)> {
    let read = |key: String| {
        let name = JournalName::parse(&key)?;
        let bytes: Bytes = server.blob(&key)?.bytes;
        Some((name, JournalFile::read(&bytes).expect("a whole file")))
    };
    server.keys().into_iter().filter_map(read).collect()
}

async fn run(fixture: &Fixture) -> Result<Counts, String> {
    use s3o_core::ports::WorkerControl as _;
    fixture.workers.run("journal").await.map_err(Option::unwrap_or_default)
}

#[tokio::test]
async fn segments_and_a_snapshot_go_to_both_backends() {
    let (one, two, fixture) = two().await;
    {
        let mut held = fixture.journal.lock();
        held.changes = (1..=3).map(change).collect();
        let place = RowPlace { bucket: 1, key: "k".to_owned(), seq: 3 };
        held.rows = vec![(place, "{\"k\":\"version\"}".to_owned())];
    }
    run(&fixture).await.expect("a tick");
    for server in [&one, &two] {
        let all = files(server);
        let parts: Vec<_> = all.iter().map(|(name, _)| (name.number, name.part)).collect();
        let wanted =
            [(1, JournalPart::Segment), (2, JournalPart::Snapshot(0)), (2, JournalPart::SnapshotEnd)];
        assert_eq!(parts, wanted);
        assert_eq!(all[0].1.records, (1..=3).map(|n| change(n).1).collect::<Vec<_>>());
        assert_eq!(all[0].1.header, "{\"n\":3}");
        assert_eq!(all[2].1.records, [all[1].0.to_string()], "the end names the pieces");
    }
    // Nothing new: nothing is written.
    let before = one.keys();
    assert_eq!(run(&fixture).await, Ok(Counts::new()));
    assert_eq!(one.keys(), before);
}

#[tokio::test]
async fn one_backend_is_enough_and_none_is_not() {
    let (one, two, fixture) = two().await;
    fixture.journal.lock().changes = vec![change(1)];
    for server in [&one, &two] {
        server.inject(Rule::new(Fault::Status(500)).on(Operation::Put).key_contains("journal").times(1));
    }
    run(&fixture).await.expect_err("neither took it");
    assert!(fixture.journal.lock().steps.is_empty(), "what is not stored is not passed");
    two.inject(Rule::new(Fault::Status(500)).on(Operation::Put).key_contains("segment").times(1));
    run(&fixture).await.expect("one took it");
    assert_eq!(fixture.journal.lock().state.segment, 2);
    let stored = fixture.journal.lock().stored.clone();
    assert!(stored.iter().any(|(id, key)| *id == BackendId(1) && key.contains("segment")));
    assert!(!stored.iter().any(|(id, key)| *id == BackendId(2) && key.contains("segment")));
}

#[tokio::test]
async fn who_lost_the_claim_takes_no_step() {
    let (_one, _two, fixture) = two().await;
    {
        let mut held = fixture.journal.lock();
        held.changes = vec![change(1)];
        held.is_taken_over = true;
    }
    let error = run(&fixture).await.expect_err("another one has it");
    assert!(error.contains("taken the journal over"), "{error}");
    assert!(fixture.journal.lock().steps.is_empty());
}

#[tokio::test]
async fn a_snapshot_that_was_begun_goes_on_where_it_was() {
    let (one, _two, fixture) = two().await;
    let place = |seq| RowPlace { bucket: 1, key: format!("k{seq}"), seq };
    {
        let mut held = fixture.journal.lock();
        held.state.segment = 5;
        held.rows = (1..=3).map(|seq| (place(seq), format!("{{\"seq\":{seq}}}"))).collect();
        let open = s3o_core::journal::OpenSnapshot {
            number: 4,
            files: vec!["first".to_owned()],
            upto: place(1),
            is_read: false,
        };
        held.state.snapshot = Some(open);
    }
    run(&fixture).await.expect("a tick");
    let all = files(&one);
    assert_eq!(all[0].0.part, JournalPart::Snapshot(1));
    assert_eq!(all[0].1.records, ["{\"seq\":2}", "{\"seq\":3}"]);
    assert_eq!(all[1].1.records, ["first".to_owned(), all[0].0.to_string()]);
    assert_eq!(fixture.journal.lock().state.complete.map(|(number, _)| number), Some(4));
}

/// A process that was slow between its claim and its look: another one has taken the journal over and ships.
#[tokio::test]
async fn what_another_process_ships_meanwhile_is_no_other_history() {
    for is_known in [true, false] {
        let (one, _two, fixture) = two().await;
        let lists = one.count(Operation::List);
        one.inject(Rule::new(Fault::Latency(Duration::from_secs(1))).on(Operation::List));
        let (ran, ()) = tokio::join!(run(&fixture), async {
            while one.count(Operation::List) == lists {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let name = JournalName { number: 1, part: JournalPart::Segment, tag: 7 }.to_string();
            one.plant(&name, JournalWriter::new("{}").and_then(JournalWriter::finish).unwrap());
            let mut held = fixture.journal.lock();
            held.state.segment = 2;
            if is_known {
                held.noted.push(StoredFile { backend: BackendId(1), storage_key: name, number: 1, bytes: 9 });
            }
        });
        assert_eq!(fixture.journal.lock().recovery, None, "{is_known}: {ran:?}");
        assert_eq!(files(&one).len(), 1, "nothing is shipped over it");
    }
}

#[tokio::test]
async fn a_journal_that_is_ahead_turns_the_recovery_mode_on() {
    let (one, _two, fixture) = two().await;
    let name = JournalName { number: 7, part: JournalPart::Segment, tag: 1 };
    let file = JournalWriter::new("{}").and_then(JournalWriter::finish).unwrap();
    one.plant(&name.to_string(), file);
    // What is known of that number is a snapshot's.
    let snapshot = JournalName { number: 7, part: JournalPart::SnapshotEnd, tag: 2 }.to_string();
    {
        let mut held = fixture.journal.lock();
        held.noted = vec![StoredFile { backend: BackendId(1), storage_key: snapshot, number: 7, bytes: 1 }];
        held.changes = vec![change(1)];
        held.is_not_looked_at = true;
    }
    let error = run(&fixture).await.expect_err("it is ahead");
    assert!(error.contains("segment 7"), "{error}");
    let held = fixture.journal.lock();
    assert!(held.recovery.is_some());
    assert!(held.steps.is_empty(), "nothing is shipped over it");
    assert!(held.is_not_looked_at, "nothing may be deleted");
}

#[tokio::test]
async fn where_no_backend_answers_nobody_has_looked() {
    let (one, two, fixture) = two().await;
    let is_looked_at = || !fixture.journal.lock().is_not_looked_at;
    for server in [&one, &two] {
        server.inject(Rule::new(Fault::Status(500)).on(Operation::List));
    }
    run(&fixture).await.expect("somebody has looked before they fell silent");
    fixture.journal.lock().is_not_looked_at = true;
    run(&fixture).await.expect_err("nobody can be asked");
    assert!(!is_looked_at());
    two.heal();
    run(&fixture).await.expect("one answers");
    assert!(is_looked_at());
    // Who deletes does not wait for the next tick.
    fixture.journal.lock().is_not_looked_at = true;
    fixture.run("cleanup_queue").await;
    assert!(is_looked_at());
    let looked_at = fixture.journal.lock().looked_at;
    fixture.run("cleanup_queue").await;
    assert_eq!(fixture.journal.lock().looked_at, looked_at, "once after each start");
    // What is ahead was found: there is nothing to look for.
    fixture.journal.lock().is_not_looked_at = true;
    fixture.journal.lock().recovery = Some("a test".to_owned());
    fixture.run("cleanup_queue").await;
    assert!(!is_looked_at());
}

/// Whoever got the next file would be one that has the journal, and would answer for those that are silent.
#[tokio::test]
async fn nothing_is_shipped_before_those_that_have_the_journal_were_asked() {
    let (one, _two, fixture) = two().await;
    one.inject(Rule::new(Fault::Status(500)).on(Operation::List));
    let known = JournalName { number: 1, part: JournalPart::Segment, tag: 1 }.to_string();
    {
        let mut held = fixture.journal.lock();
        held.noted = vec![StoredFile { backend: BackendId(1), storage_key: known, number: 1, bytes: 1 }];
        held.changes = vec![change(1)];
        held.is_not_looked_at = true;
    }
    let error = run(&fixture).await.expect_err("it cannot be asked");
    assert!(error.contains("nothing is shipped or deleted"), "{error}");
    assert!(fixture.journal.lock().steps.is_empty() && fixture.journal.lock().is_not_looked_at);
    one.heal();
    run(&fixture).await.expect("it answers");
    assert!(!fixture.journal.lock().is_not_looked_at);
    assert!(matches!(fixture.journal.lock().steps.first(), Some(JournalStep::Shipped(_))));
}

/// Its folder is not mounted, or its endpoint was mistyped: it answers, and has nothing, or another cluster's journal.
#[tokio::test]
async fn what_shows_no_marker_was_not_asked() {
    let (one, _two, fixture) = two().await;
    let segment = |number| JournalName { number, part: JournalPart::Segment, tag: 1 }.to_string();
    one.remove(".s3o/backend");
    {
        let mut held = fixture.journal.lock();
        held.noted = vec![StoredFile { backend: BackendId(1), storage_key: segment(1), number: 1, bytes: 1 }];
        held.changes = vec![change(1)];
        held.is_not_looked_at = true;
    }
    for _ in 0..2 {
        let error = run(&fixture).await.expect_err("nobody knows whose it is");
        assert!(error.contains("nothing is shipped or deleted"), "{error}");
        let held = fixture.journal.lock();
        assert!(held.steps.is_empty() && held.is_not_looked_at && held.recovery.is_none());
        drop(held);
        one.plant(&segment(7), JournalWriter::new("{}").and_then(JournalWriter::finish).unwrap());
    }
    mark(&one, 1);
    let error = run(&fixture).await.expect_err("it is ahead");
    assert!(error.contains("segment 7"), "{error}");
    assert!(fixture.journal.lock().recovery.is_some());
}

/// As one has that joined in the time that was lost, and got another number since.
#[tokio::test]
async fn what_has_another_number_now_is_listed_but_was_not_asked() {
    let (one, two, fixture) = two().await;
    mark(&two, 9);
    fixture.journal.lock().is_not_looked_at = true;
    {
        let mut held = fixture.journal.lock();
        held.noted = vec![StoredFile {
            backend: BackendId(2),
            storage_key: JournalName { number: 1, part: JournalPart::Segment, tag: 1 }.to_string(),
            number: 1,
            bytes: 1,
        }];
        held.changes = vec![change(1)];
    }
    let error = run(&fixture).await.expect_err("it holds the journal, and is somebody else");
    assert!(error.contains("nothing is shipped or deleted"), "{error}");
    assert!(fixture.journal.lock().is_not_looked_at && fixture.journal.lock().recovery.is_none());
    let segment = JournalName { number: 7, part: JournalPart::Segment, tag: 1 }.to_string();
    two.plant(&segment, JournalWriter::new("{}").and_then(JournalWriter::finish).unwrap());
    let error = run(&fixture).await.expect_err("it is ahead");
    assert!(error.contains("segment 7"), "{error}");
    assert!(fixture.journal.lock().recovery.is_some());
    drop(one);
}

#[tokio::test]
async fn what_is_old_is_deleted_and_what_lacks_copies_is_copied() {
    let (one, two, fixture) = two().await;
    fixture.journal.lock().changes = vec![change(1)];
    fixture.journal.lock().targets = vec![BackendId(1)];
    run(&fixture).await.expect("a tick");
    let (key, size) = {
        let held = fixture.journal.lock();
        let file = held.noted.iter().find(|file| file.storage_key.contains("segment")).expect("a segment");
        (file.storage_key.clone(), file.bytes)
    };
    let file = |backend| StoredFile { backend, storage_key: key.clone(), number: 1, bytes: size };
    {
        let mut held = fixture.journal.lock();
        held.targets = vec![BackendId(1), BackendId(2)];
        held.chores = JournalChores { copy: vec![file(BackendId(1))], delete: vec![] };
    }
    run(&fixture).await.expect("a tick");
    assert!(two.blob(&key).is_some(), "copied");
    // Not while the recovery mode is on.
    {
        let mut held = fixture.journal.lock();
        held.chores = JournalChores { copy: vec![], delete: vec![file(BackendId(1))] };
        held.recovery = Some("a test".to_owned());
    }
    run(&fixture).await.expect("a tick");
    assert!(one.blob(&key).is_some());
    // Nor when another process has the journal by now.
    {
        let mut held = fixture.journal.lock();
        held.recovery = None;
        held.is_taken_over = true;
    }
    run(&fixture).await.expect("a tick");
    assert!(one.blob(&key).is_some());
    fixture.journal.lock().is_taken_over = false;
    run(&fixture).await.expect("a tick");
    assert!(one.blob(&key).is_none() && two.blob(&key).is_some());
    assert!(matches!(fixture.journal.lock().steps.first(), Some(JournalStep::Shipped(_))));
}

#[tokio::test]
async fn a_file_that_is_gone_or_rotten_counts_no_more() {
    let (one, two, fixture) = two().await;
    {
        let mut held = fixture.journal.lock();
        held.changes = (1..=3).map(change).collect();
        let place = RowPlace { bucket: 1, key: "k".to_owned(), seq: 3 };
        held.rows = vec![(place, "{\"k\":\"version\"}".to_owned())];
    }
    run(&fixture).await.expect("a tick");
    let noted = fixture.journal.lock().noted.clone();
    let of = |part: &str, id: i32| {
        let mut files = noted.iter().filter(|file| file.backend == BackendId(id));
        files.find(|file| file.storage_key.contains(part)).cloned().expect("a file")
    };
    // Whole ones stay; of one that is gone and one that rots the row goes, and the other backend's stays.
    let (gone, rotten) = (of("segment", 1), of("snapshot", 2));
    one.remove(&gone.storage_key);
    assert!(two.corrupt(&rotten.storage_key));
    fixture.journal.lock().checks = noted.clone();
    let counts = run(&fixture).await.expect("a tick");
    assert_eq!((counts["bad"], counts["checked"]), (2, noted.len() as u64 - 2));
    let left = fixture.journal.lock().noted.clone();
    assert!(!left.contains(&gone), "it counts no more");
    assert_eq!(fixture.journal.lock().bad, [(BackendId(2), rotten.storage_key.clone())]);
    assert!(two.blob(&rotten.storage_key).is_some(), "not deleted by one look");
    assert!(!counts.contains_key("snapshot_files"), "there is another copy of each");

    // A backend without its marker is not believed, nor one that says it once only.
    let last = of("segment", 2);
    let bytes = two.blob(&last.storage_key).expect("a file").bytes;
    two.remove(&last.storage_key);
    two.remove(".s3o/backend");
    fixture.journal.lock().checks = vec![last.clone()];
    run(&fixture).await.expect("a tick");
    assert!(fixture.journal.lock().noted.contains(&last));
    mark(&two, 2);
    two.plant(&last.storage_key, bytes);
    two.inject(Rule::new(Fault::Status(404)).on(Operation::Head).key_contains("segment").times(1));
    fixture.journal.lock().checks = vec![last.clone()];
    assert_eq!(run(&fixture).await.expect("a tick").get("bad"), None);
    assert!(fixture.journal.lock().noted.contains(&last));
}

#[tokio::test]
async fn a_hole_asks_for_a_snapshot_whatever_is_under_way() {
    let (_one, _two, fixture) = two().await;
    {
        let mut held = fixture.journal.lock();
        held.changes = (1..=3).map(change).collect();
        let place = RowPlace { bucket: 1, key: "k".to_owned(), seq: 3 };
        held.rows = vec![(place, "{\"k\":\"version\"}".to_owned())];
    }
    let first = run(&fixture).await.expect("a tick");
    assert_eq!(first["snapshot_files"], 1);
    let begun = |fixture: &Fixture| {
        fixture.journal.lock().steps.iter().filter(|step| **step == JournalStep::SnapshotBegun).count()
    };
    fixture.journal.lock().hole = Some(1);
    let counts = run(&fixture).await.expect("a tick");
    assert_eq!((counts["snapshot_files"], begun(&fixture)), (1, 2));
    // One that is open, and needs what is lost, begins anew; one that is newer goes on.
    let open = |number| s3o_core::journal::OpenSnapshot {
        number,
        files: vec!["first".to_owned()],
        upto: RowPlace::start(),
        is_read: true,
    };
    let segment = fixture.journal.lock().state.segment;
    for (number, wanted) in [(segment, 3), (segment + 1, 3)] {
        {
            let mut held = fixture.journal.lock();
            held.state.segment = segment + 1;
            held.state.snapshot = Some(open(number));
            held.hole = Some(segment);
        }
        run(&fixture).await.expect("a tick");
        assert_eq!(begun(&fixture), wanted);
    }
}
