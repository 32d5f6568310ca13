//! What is on backends that are given up is let go by the ledger, one by one; what was queued is forgotten.

use async_trait::async_trait;
use s3o_core::call::{ExtentOf, GiveUp, Outcome, Refusal};
use s3o_core::ports::{PortError, Removals, WorkerControl as _};
use s3o_core::removal::{HeldCopy, NotRemoved, Removal, RemovalMode, RemovalOrder, RemovalPreview};
use s3o_core::upload::UploadRow;
use s3o_types::{BackendId, BucketId, ErrorCode, Extent, Gen, Seq, VersionId};

use crate::fakes::{Fixture, Ports, State};

const BACKEND: BackendId = BackendId(7);

/// What is there, and what was asked for.
#[derive(Default)]
pub(crate) struct RemovalState {
    removals: Vec<(BackendId, Removal)>,
    held: Vec<HeldCopy>,
    uploads: Vec<UploadRow>,
    queued: u64,
    /// What `GiveUp` of a key is answered; anything else goes.
    outcomes: Vec<(String, Outcome)>,
    given_up: Vec<GiveUp>,
}

impl RemovalState {
    pub(crate) fn decide(&mut self, give_up: GiveUp) -> Outcome {
        let known = self.outcomes.iter().find(|(key, _)| *key == give_up.of.key);
        let outcome = known.map_or(Outcome::CopyChanged, |(_, outcome)| outcome.clone());
        self.given_up.push(give_up);
        outcome
    }
}

#[async_trait]
impl Removals for Ports {
    async fn preview_removal(&self, _: &str) -> Result<Result<RemovalPreview, NotRemoved>, PortError> {
        unreachable!("operators ask for it")
    }

    async fn remove(&self, _: &str, _: RemovalOrder) -> Result<Result<(), NotRemoved>, PortError> {
        unreachable!("operators ask for it")
    }

    async fn removals(&self) -> Result<Vec<(BackendId, Removal)>, PortError> {
        Ok(self.state.lock().unwrap().removals.removals.clone())
    }

    async fn held_copies(
        &self,
        backend: BackendId,
        after: Option<(VersionId, Extent)>,
        limit: u32,
    ) -> Result<Vec<HeldCopy>, PortError> {
        assert_eq!(backend, BACKEND);
        let state = self.state.lock().unwrap();
        let behind = |copy: &&HeldCopy| after.is_none_or(|after| (copy.of.version, copy.of.extent) > after);
        Ok(state.removals.held.iter().filter(behind).take(limit as usize).cloned().collect())
    }

    async fn uploads_on(&self, _: BackendId, _: u32) -> Result<Vec<UploadRow>, PortError> {
        Ok(std::mem::take(&mut self.state.lock().unwrap().removals.uploads))
    }

    async fn forget_queued(&self, _: BackendId, limit: u32) -> Result<u64, PortError> {
        let mut state = self.state.lock().unwrap();
        let forgotten = state.removals.queued.min(u64::from(limit));
        state.removals.queued -= forgotten;
        Ok(forgotten)
    }
}

fn held(n: u64) -> HeldCopy {
    let of = ExtentOf {
        bucket: BucketId(1),
        key: format!("k{n}"),
        version: VersionId::mint(n, 0),
        extent: Extent::ZERO,
    };
    HeldCopy { of, r#gen: Gen::of_client(0).unwrap() }
}

/// After the tick with which every worker begins.
async fn giving_up(accepts_losses: bool, copies: u64) -> Fixture {
    let fixture = Fixture::start(Vec::new(), State::default());
    fixture.run("removal").await;
    let removal = Removal { mode: RemovalMode::Forget, losses_upto: accepts_losses.then_some(Seq(9)) };
    fixture.state().removals = RemovalState {
        removals: vec![(BACKEND, removal)],
        held: (1..=copies).map(held).collect(),
        queued: 1200,
        ..RemovalState::default()
    };
    fixture
}

#[tokio::test]
async fn every_copy_is_proposed_once_a_tick_and_what_was_queued_is_forgotten() {
    let fixture = giving_up(false, 1100).await;
    let last = Refusal::new(ErrorCode::PreconditionFailed, "the last one").into();
    let gone = Refusal::new(ErrorCode::NoSuchKey, "gone").into();
    let lost = Outcome::Deleted { existed: true, version: None, delete_marker: false };
    fixture.state().removals.outcomes =
        vec![("k1".to_owned(), last), ("k2".to_owned(), gone), ("k3".to_owned(), lost)];
    let counts = fixture.run("removal").await;
    assert_eq!((counts["let_go"], counts["kept"], counts["gone"], counts["lost"]), (1097, 1, 1, 1));
    assert_eq!(counts["forgotten"], 1200);
    let mut keys: Vec<String> =
        fixture.state().removals.given_up.iter().map(|give_up| give_up.of.key.clone()).collect();
    assert!(fixture.state().removals.given_up.iter().all(|give_up| give_up.backend == BACKEND));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1100);
    fixture.end().await;
}

#[tokio::test]
async fn one_that_fails_fails_the_tick_and_does_not_hold_up_the_others() {
    let fixture = giving_up(true, 600).await;
    let busy = Refusal::new(ErrorCode::ServiceUnavailable, "the database is away").into();
    fixture.state().removals.outcomes = vec![("k2".to_owned(), busy)];
    let error = fixture.workers.run("removal").await.unwrap_err().unwrap();
    assert!(error.contains("the database is away"), "{error}");
    assert_eq!(fixture.state().removals.given_up.len(), 600);
    assert_eq!(fixture.state().removals.queued, 0);
    fixture.end().await;
}

#[tokio::test]
async fn nothing_goes_in_the_recovery_mode() {
    let fixture = giving_up(true, 3).await;
    fixture.journal.lock().recovery = Some("another timeline".to_owned());
    assert_eq!(fixture.run("removal").await, [("held".to_owned(), 1)].into());
    assert!(fixture.state().removals.given_up.is_empty());
    fixture.end().await;
}

#[tokio::test]
async fn attempts_of_versions_that_are_gone_are_looked_for_to_the_end() {
    let fixture = Fixture::start(Vec::new(), State::default());
    assert_eq!(fixture.run("copy_attempts").await["pruned"], 1);
    fixture.end().await;
}
