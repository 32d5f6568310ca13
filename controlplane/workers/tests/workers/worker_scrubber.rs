//! Copies are read; what is wrong is marked, never taken away; what is right is vouched for.

use s3o_core::call::CopyChange;
use s3o_core::object::CopyState;
use s3o_core::replication::{CopiesPage, CopyItem, CopyTask, ReplicationResult};
use s3o_core::scrub::{ScrubBatch, ScrubProgress};
use s3o_core::session::BackendUsage;
use s3o_core::usage::Usage;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{BackendId, BackendState, Digest, ErrorCode, Extent, Gen};

use crate::copies::{CopiesState, item, page, storage_key};
use crate::fakes::{Fixture, State, mark, row, spec};

const ACTIVE: BackendState = BackendState::Active;
const BYTES: &[u8] = b"123456789";
/// The check value of CRC-64/NVME, ae8b14860a799888.
const DIGEST: Digest = Digest::Crc64Nvme([0xae, 0x8b, 0x14, 0x86, 0x0a, 0x79, 0x98, 0x88]);

/// Two servers, attached, which hold the same bytes.
async fn fixture() -> (Fixture, [FaultyBackend; 2]) {
    let servers = [FaultyBackend::start().await.unwrap(), FaultyBackend::start().await.unwrap()];
    let rows = servers.iter().zip(1..).map(|(server, id)| {
        mark(server, id);
        server.plant(&key(), BYTES);
        row(spec(server, id), true)
    });
    let fixture = Fixture::start(rows.collect(), State::default());
    fixture.run("scrubber").await;
    (fixture, servers)
}

fn key() -> String {
    storage_key(Gen::ZERO)
}

fn on_both() -> CopiesPage {
    page(BYTES, 2, &[(1, ACTIVE), (2, ACTIVE)])
}

fn known() -> CopiesPage {
    let mut page = on_both();
    page.extents[0].copies.iter_mut().for_each(|(copy, _)| copy.digest = Some(DIGEST));
    page
}

fn waits(fixture: &Fixture, page: CopiesPage) {
    fixture.state().copies = CopiesState::waiting(CopyTask::Verify, page, &[]);
}

fn changes(fixture: &Fixture) -> Vec<(i32, CopyChange)> {
    fixture.state().copies.changed.iter().map(|change| (change.backend.0, change.change)).collect()
}

fn result(fixture: &Fixture) -> ReplicationResult {
    fixture.state().copies.finished.last().expect("finished").1.clone()
}

#[tokio::test]
async fn good_copies_are_left_alone_and_their_version_is_looked_at_for_the_rest() {
    let (fixture, _servers) = fixture().await;
    waits(&fixture, known());
    let counts = fixture.run("scrubber").await;
    assert_eq!((counts.len(), counts["good"]), (1, 2));
    assert_eq!(changes(&fixture), []);
    assert_eq!(result(&fixture), ReplicationResult::HandedOver(CopyTask::Add));
    let metrics = fixture.metrics.encode();
    assert!(metrics.contains("s3o_integrity_checks_total{operation=\"scrub\"} 2"), "{metrics}");
    assert!(!metrics.contains("s3o_integrity_errors_total{"), "{metrics}");
    fixture.end().await;
}

#[tokio::test]
async fn a_rotten_copy_is_read_twice_and_quarantined() {
    let (fixture, [one, _two]) = fixture().await;
    assert!(one.corrupt(&key()));
    // By the digest; and of an object of before digests, by its MD5.
    for page in [known(), on_both()] {
        waits(&fixture, page);
        let before = one.count(Operation::Get);
        let counts = fixture.run("scrubber").await;
        assert_eq!((counts["good"], counts["corrupt"]), (1, 1));
        assert_eq!(changes(&fixture)[0], (1, CopyChange::Mark(CopyState::Quarantined)));
        assert!(one.blob(&key()).is_some(), "it stays until another one is made");
        // Twice the copy, and the marker before each; others look at the marker, too.
        assert!(one.count(Operation::Get) - before >= 4);
        assert_eq!(result(&fixture), ReplicationResult::HandedOver(CopyTask::Add));
    }
    assert!(fixture.metrics.encode().contains("s3o_integrity_errors_total{operation=\"scrub\"} 2"));
    fixture.end().await;
}

#[tokio::test]
async fn what_was_wrong_once_and_then_right_is_not_believed_either_way() {
    let (fixture, [one, _two]) = fixture().await;
    waits(&fixture, known());
    one.inject(Rule::new(Fault::BitFlip).on(Operation::Get).key_contains("k~").times(1));
    fixture.run("scrubber").await;
    assert_eq!(changes(&fixture), []);
    assert!(matches!(result(&fixture), ReplicationResult::Failed(_)), "to be read again");
    fixture.end().await;
}

#[tokio::test]
async fn a_copy_that_is_gone_is_missing_only_where_our_marker_is() {
    let (fixture, [one, _two]) = fixture().await;
    waits(&fixture, known());
    assert!(one.remove(&key()));
    one.remove(".s3o/backend");
    let counts = fixture.run("scrubber").await;
    assert_eq!((counts["good"], counts["unread"]), (1, 1));
    assert_eq!(changes(&fixture), []);
    mark(&one, 1);
    waits(&fixture, known());
    assert_eq!(fixture.run("scrubber").await["gone"], 1);
    assert_eq!(changes(&fixture), [(1, CopyChange::Mark(CopyState::Missing))]);
    fixture.end().await;
}

/// A backend that is away costs the others one reading, not one a try.
#[tokio::test]
async fn what_could_not_be_read_is_tried_again_once_all_of_it_can_be_asked_for() {
    let (fixture, [_one, two]) = fixture().await;
    let tried_again = || {
        waits(&fixture, known());
        fixture.state().copies.queue[0].attempts = 1;
    };
    two.remove(".s3o/backend");
    waits(&fixture, known());
    let counts = fixture.run("scrubber").await;
    assert_eq!((counts["good"], counts["unread"]), (1, 1));
    tried_again();
    assert!(fixture.run("scrubber").await.is_empty(), "none is read");
    assert!(matches!(result(&fixture), ReplicationResult::Failed(_)));
    mark(&two, 2);
    tried_again();
    assert_eq!(fixture.run("scrubber").await["good"], 2);
    assert_eq!(result(&fixture), ReplicationResult::HandedOver(CopyTask::Add));
    fixture.end().await;
}

/// However many pages of others come before what that one has.
#[tokio::test]
async fn no_part_is_read_again_before_the_last_one_can_be_asked_for() {
    let (fixture, [_one, two]) = fixture().await;
    let number = Extent::new(1).unwrap();
    let mut parts = known();
    let mut last = parts.extents[0].clone();
    parts.extents[0].copies.truncate(1);
    last.extent = number;
    last.copies.remove(0);
    last.copies[0].0.blob.extent = number;
    two.plant(&last.copies[0].0.storage_key("photos"), BYTES);
    parts.extents.push(last);
    let tried_again = || {
        waits(&fixture, parts.clone());
        let mut state = fixture.state();
        state.copies.is_paged = true;
        state.copies.queue[0].attempts = 1;
    };
    two.remove(".s3o/backend");
    tried_again();
    assert!(fixture.run("scrubber").await.is_empty(), "none is read");
    assert!(matches!(result(&fixture), ReplicationResult::Failed(_)));
    mark(&two, 2);
    tried_again();
    assert_eq!(fixture.run("scrubber").await["good"], 2);
    fixture.end().await;
}

/// A digest is taken over from bytes that something else vouches for, or that nothing can contradict.
#[tokio::test]
async fn digests_are_filled_in_by_what_is_read() {
    let (fixture, _servers) = fixture().await;
    waits(&fixture, on_both());
    fixture.run("scrubber").await;
    let filled = CopyChange::Verify(Some(DIGEST));
    assert_eq!(changes(&fixture), [(1, filled), (2, filled)], "the MD5 is known");

    // Nothing is known of the bytes, and there are two of them: either may be the wrong one.
    let mut unknown = on_both();
    unknown.object.etag = s3o_types::Etag::new("0123456789abcdef0123456789abcdef-2");
    unknown.extents[0].copies[1].0.state = CopyState::Uncertain;
    waits(&fixture, unknown.clone());
    assert_eq!(fixture.run("scrubber").await["unproven"], 2);
    assert_eq!(changes(&fixture), [], "nor does it count now");
    assert_eq!(result(&fixture), ReplicationResult::HandedOver(CopyTask::Add));
    unknown.extents[0].copies.truncate(1);
    waits(&fixture, unknown);
    fixture.run("scrubber").await;
    assert_eq!(changes(&fixture), [(1, filled)]);
    fixture.end().await;
}

#[tokio::test]
async fn an_unsure_or_quarantined_copy_that_is_right_counts_again() {
    let (fixture, _servers) = fixture().await;
    for state in [CopyState::Uncertain, CopyState::Quarantined, CopyState::Missing] {
        let mut page = known();
        page.extents[0].copies[1].0.state = state;
        waits(&fixture, page);
        fixture.run("scrubber").await;
        assert_eq!(changes(&fixture), [(2, CopyChange::Verify(None))], "{state:?}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn the_last_copy_stays_whatever_it_is() {
    let (fixture, [one, _two]) = fixture().await;
    assert!(one.corrupt(&key()));
    let mut page = known();
    page.extents[0].copies.truncate(1);
    let mut copies = CopiesState::waiting(CopyTask::Verify, page, &[]);
    copies.refuse_changes = Some(ErrorCode::PreconditionFailed);
    fixture.state().copies = copies;
    assert_eq!(fixture.run("scrubber").await["corrupt"], 1);
    assert_eq!(fixture.state().copies.rows()[0].0.state, CopyState::Verified);
    fixture.end().await;
}

#[tokio::test]
async fn a_round_goes_on_behind_what_it_has_read() {
    let (fixture, [one, _two]) = fixture().await;
    assert!(one.corrupt(&key()));
    let due = |backend: i32, extent: u16| ScrubBatch {
        upto: None,
        backend: BackendId(backend),
        copies: vec![CopyItem {
            entry: item(CopyTask::Verify).entry,
            extent: Extent::new(extent).unwrap(),
            size: 9,
        }],
        is_last: true,
    };
    let mut copies = CopiesState::waiting(CopyTask::Trim, known(), &[]);
    // The second one's extent is gone by now. Of the third nothing can be read.
    let upto = Some((item(CopyTask::Verify).entry.version, Extent::new(7).unwrap()));
    let unreadable = ScrubBatch { copies: vec![], upto, ..due(3, 0) };
    copies.scrubs = vec![unreadable, due(2, 3), due(1, 0)];
    fixture.state().copies = copies;
    let counts = fixture.run("scrubber").await;
    assert_eq!((counts.len(), counts["corrupt"]), (1, 1));
    assert_eq!(
        changes(&fixture),
        [(1, CopyChange::Mark(CopyState::Quarantined))],
        "only the copy whose turn it was"
    );
    let version = item(CopyTask::Verify).entry.version;
    let progress = |backend: i32, extent: u16, bytes: u64| ScrubProgress {
        backend: BackendId(backend),
        after: Some((version, Extent::new(extent).unwrap())),
        copies: 1,
        bytes,
        is_last: true,
    };
    let passed = ScrubProgress { copies: 0, ..progress(3, 7, 0) };
    assert_eq!(fixture.state().copies.scrubbed, [progress(1, 0, 9), progress(2, 3, 0), passed]);
    fixture.end().await;
}

#[tokio::test]
async fn whose_month_is_used_up_waits_with_its_round() {
    let (fixture, _servers) = fixture().await;
    fixture.change(|config| config.backends[0].limits.api_requests = Some(5));
    let month = |n| BackendUsage { requests: [("b".to_owned(), n)].into(), ..BackendUsage::default() };
    let copies = vec![CopyItem { entry: item(CopyTask::Verify).entry, extent: Extent::ZERO, size: 9 }];
    let due = ScrubBatch { upto: None, backend: BackendId(1), copies, is_last: true };
    let mut copies = CopiesState::waiting(CopyTask::Trim, known(), &[]);
    copies.scrubs = vec![due];
    {
        let mut state = fixture.state();
        state.copies = copies;
        state.usage = vec![(BackendId(1), Usage::default(), month(5))];
    }
    fixture.run("scrubber").await;
    assert!(fixture.state().copies.scrubbed.is_empty(), "no call is left");
    fixture.state().usage[0].2 = month(4);
    assert_eq!(fixture.run("scrubber").await["good"], 1);
    assert_eq!(fixture.state().copies.scrubbed.len(), 1);
    fixture.end().await;
}
