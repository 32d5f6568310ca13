//! Passes through buckets: page by page, on from where one was left, and left alone where they are another's.

use std::collections::VecDeque;

use async_trait::async_trait;
use s3o_core::call::{Expire, Expiring, Outcome, Refusal};
use s3o_core::cleanup::Claim;
use s3o_core::config::{BucketConfig, BucketState};
use s3o_core::lifecycle::{DuePage, Phase, Place};
use s3o_core::ports::{Lifecycle, PortError, WorkerControl as _};
use s3o_types::{
    AckLevel, BucketId, DegradedReads, ErrorCode, LifecycleRule, Timestamp, VersionId, Versioning,
};

use crate::fakes::{Fixture, Ports, State};

/// What the port holds and saw.
#[derive(Default)]
pub(crate) struct LifecycleState {
    /// Keys of current versions that are due, page by page.
    pub(crate) pages: VecDeque<Vec<&'static str>>,
    pub(crate) is_anothers: bool,
    /// What the ledger answers for a key; else it is gone.
    pub(crate) refusals: Vec<(&'static str, ErrorCode)>,
    pub(crate) expired: Vec<String>,
    /// Where the pass stands.
    pub(crate) place: Option<Place>,
    pub(crate) saves: usize,
}

impl LifecycleState {
    pub(crate) fn decide(&mut self, expire: Expire) -> Outcome {
        if let Some((_, code)) = self.refusals.iter().find(|(key, _)| *key == expire.key) {
            return Refusal::new(*code, "refused").into();
        }
        self.expired.push(expire.key);
        Outcome::Deleted { existed: true, version: None, delete_marker: false }
    }
}

#[async_trait]
impl Lifecycle for Ports {
    async fn claim_pass(&self, _: BucketId, _: Claim) -> Result<Option<Place>, PortError> {
        let state = self.state.lock().unwrap();
        let place = state.lifecycle.place.clone().unwrap_or(Place::start(Phase::Objects));
        Ok((!state.lifecycle.is_anothers).then_some(place))
    }

    async fn due(&self, bucket: BucketId, after: &Place, limit: u32) -> Result<DuePage, PortError> {
        let mut state = self.state.lock().unwrap();
        let keys = state.lifecycle.pages.front().cloned().unwrap_or_default();
        assert!(keys.len() <= limit as usize);
        if state.lifecycle.refusals.iter().all(|(_, code)| *code != ErrorCode::ServiceUnavailable) {
            state.lifecycle.pages.pop_front();
        }
        let expire = |key: &&str| {
            let what = Expiring::Current(VersionId::mint(1, 1));
            Expire { bucket, key: (*key).to_owned(), what }
        };
        let next = keys.last().map(|key| Place { key: (*key).to_owned(), ..after.clone() });
        Ok(DuePage { due: keys.iter().map(expire).collect(), next })
    }

    async fn save_pass(&self, _: BucketId, _: Claim, place: Option<&Place>) -> Result<bool, PortError> {
        let mut state = self.state.lock().unwrap();
        state.lifecycle.place = place.cloned();
        state.lifecycle.saves += 1;
        Ok(true)
    }
}

fn bucket(id: i32, rules: usize) -> BucketConfig {
    BucketConfig {
        id: BucketId(id),
        name: format!("bucket{id}").parse().unwrap(),
        state: BucketState::Active,
        ack: AckLevel::One,
        replication_factor: 1,
        max_object_size: None,
        created: Timestamp(0),
        cors: vec![],
        lifecycle: vec![LifecycleRule { expire_after_days: Some(1), ..LifecycleRule::default() }; rules],
        versioning: Versioning::Off,
        lock: None,
        degraded_reads: DegradedReads::Allowed,
    }
}

/// After the tick with which every worker begins. One bucket has rules.
async fn with(pages: &[&[&'static str]]) -> Fixture {
    let fixture = Fixture::start(Vec::new(), State::default());
    fixture.run("lifecycle").await;
    fixture.change(|config| config.buckets = vec![bucket(1, 0), bucket(2, 1)]);
    fixture.state().lifecycle.pages = pages.iter().map(|page| page.to_vec()).collect();
    fixture
}

#[tokio::test]
async fn every_page_is_gone_through_and_the_pass_ends() {
    let fixture = with(&[&["a", "b"], &["c", "d"], &[]]).await;
    fixture.state().lifecycle.refusals = vec![("b", ErrorCode::PreconditionFailed)];
    let counts = fixture.run("lifecycle").await;
    assert_eq!((counts["expired"], counts["kept"]), (3, 1));
    {
        let state = fixture.state();
        let mut expired = state.lifecycle.expired.clone();
        expired.sort_unstable();
        assert_eq!(expired, ["a", "c", "d"]);
        assert_eq!((state.lifecycle.saves, state.lifecycle.place.clone()), (3, None));
    }
    let shown = fixture.metrics.encode();
    assert!(shown.contains("s3o_lifecycle_deleted_total 3"), "{shown}");
    assert!(shown.contains("s3o_lifecycle_runs_total{status=\"success\"}"), "{shown}");
    fixture.end().await;
}

#[tokio::test]
async fn a_pass_without_the_database_goes_on_at_its_page() {
    let fixture = with(&[&["a", "b"], &[]]).await;
    fixture.state().lifecycle.refusals = vec![("b", ErrorCode::ServiceUnavailable)];
    fixture.state().lifecycle.place = Some(Place { key: "A".to_owned(), ..Place::start(Phase::Objects) });
    assert!(fixture.workers.run("lifecycle").await.is_err());
    assert_eq!(fixture.state().lifecycle.saves, 0, "the page counts as not looked at");
    fixture.state().lifecycle.refusals.clear();
    assert_eq!(fixture.run("lifecycle").await["expired"], 2);
    assert_eq!(fixture.state().lifecycle.place, None);
    fixture.end().await;
}

#[tokio::test]
async fn what_cannot_be_removed_fails_the_run_and_holds_nothing_up() {
    let fixture = with(&[&["a", "b"], &["c"], &[]]).await;
    fixture.state().lifecycle.refusals = vec![("a", ErrorCode::InternalError)];
    assert!(fixture.workers.run("lifecycle").await.is_err());
    assert_eq!(fixture.state().lifecycle.expired.len(), 2);
    assert!(fixture.metrics.encode().contains("s3o_lifecycle_failed_total 1"));
    fixture.end().await;
}

#[tokio::test]
async fn another_replicas_pass_is_left_alone() {
    let fixture = with(&[&["a"]]).await;
    fixture.state().lifecycle.is_anothers = true;
    assert!(fixture.run("lifecycle").await.is_empty());
    assert!(fixture.state().lifecycle.expired.is_empty());
    fixture.end().await;
}
