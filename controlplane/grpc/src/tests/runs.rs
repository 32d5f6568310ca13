//! Runs over backends: begun, followed, refused; and the port in memory.

use async_trait::async_trait;
use s3o_core::call::Refusal;
use s3o_core::cleanup::Claim;
use s3o_core::ports::{PortError, Reconciliation};
use s3o_core::reconcile::{
    AskRun, Candidate, CandidateKind, GoneBucket, KnownCopy, LostCopy, RowsPage, RowsQuery, Run, RunKind,
    RunPhase, RunState, RunTally, Stray, StrayKind,
};
use s3o_core::usage::UsageDrift;
use s3o_proto::v1;
use s3o_types::{BackendId, BlobName, BucketId, ErrorCode};
use tonic::Code;

use super::Plane;
use super::admin::admin;
use super::fakes::Fakes;

fn run(ask: AskRun, looks: usize) -> Run {
    let state = if looks < 3 { RunState::Running } else { RunState::Done };
    let tally = RunTally { listed: looks as u64, marked: 2, ..RunTally::default() };
    Run {
        id: i64::from(ask.backend.0),
        backend_name: format!("b{}", ask.backend.0),
        ask,
        state,
        phase: RunPhase::Plain,
        cursor: "photos/k".to_owned(),
        expected: 7,
        tally,
        error: None,
    }
}

/// Each look finds a run further on; an import is refused, as if a reconcile were under way.
#[async_trait]
impl Reconciliation for Fakes {
    async fn ask_all(&self, asks: Vec<AskRun>) -> Result<Result<Vec<Run>, Refusal>, PortError> {
        let refused = |ask: &AskRun| matches!(ask.kind, RunKind::Import { .. }) && !ask.dry_run;
        if asks.iter().any(refused) {
            let why = "a reconcile of it is under way";
            return Ok(Err(Refusal::new(ErrorCode::OperationAborted, why)));
        }
        self.runs_asked.lock().unwrap().extend(asks.iter().map(|ask| (ask.clone(), 0)));
        Ok(Ok(asks.into_iter().map(|ask| run(ask, 0)).collect()))
    }

    async fn runs(&self) -> Result<Vec<Run>, PortError> {
        let mut asked = self.runs_asked.lock().unwrap();
        let look = |(ask, looks): &mut (AskRun, usize)| {
            *looks += 1;
            run(ask.clone(), *looks)
        };
        Ok(asked.iter_mut().map(look).collect())
    }

    async fn ask_due(&self, _: i64, _: &[BackendId]) -> Result<u64, PortError> {
        Ok(0)
    }

    async fn claim_run(&self, _: Claim) -> Result<Option<Run>, PortError> {
        Ok(None)
    }

    async fn save_run(&self, _: Claim, _: &Run) -> Result<bool, PortError> {
        Ok(true)
    }

    async fn note_versions(&self, _: i64) -> Result<(), PortError> {
        Ok(())
    }

    async fn gone_buckets(&self) -> Result<Vec<GoneBucket>, PortError> {
        Ok(Vec::new())
    }

    async fn rows(&self, _: RowsQuery) -> Result<RowsPage, PortError> {
        Ok(RowsPage::default())
    }

    async fn imported_rows(&self, _: BackendId, _: &str, _: u16) -> Result<Vec<KnownCopy>, PortError> {
        Ok(Vec::new())
    }

    async fn gather_hashed(&self, _: &Run, _: Vec<KnownCopy>) -> Result<(), PortError> {
        Ok(())
    }

    async fn hashed_rows(&self, _: &Run, _: &str, _: u16) -> Result<Vec<KnownCopy>, PortError> {
        Ok(Vec::new())
    }

    async fn strays(&self, _: BackendId, _: &[Stray], _: i64) -> Result<Vec<StrayKind>, PortError> {
        Ok(Vec::new())
    }

    async fn note_lost(&self, _: Vec<LostCopy>) -> Result<(), PortError> {
        Ok(())
    }

    async fn note_found(&self, _: BackendId, _: Vec<BlobName>) -> Result<(), PortError> {
        Ok(())
    }

    async fn lost_objects(&self) -> Result<u64, PortError> {
        Ok(0)
    }

    async fn candidates(
        &self,
        _: BackendId,
        _: BucketId,
        _: &[Candidate],
    ) -> Result<Vec<CandidateKind>, PortError> {
        Ok(Vec::new())
    }

    async fn audit(&self, _: bool) -> Result<Vec<UsageDrift>, PortError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_reconcile_is_followed_until_every_backend_s_run_has_ended() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    let request = v1::ReconcileRequest { backend: String::new(), dry_run: true, accept_losses: false };
    let mut progress = admin.reconcile(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(report) = progress.message().await.unwrap() {
        assert_eq!((report.kind.as_str(), report.expected, report.dry_run), ("reconcile", 7, true));
        seen.push((report.state, report.counts["listed"], report.counts["marked"]));
    }
    let report = |state: &str, listed| (state.to_owned(), listed, 2);
    assert_eq!(seen, [report("running", 1), report("running", 2), report("done", 3)]);
    let runs = admin.list_runs(v1::ListRunsRequest {}).await.unwrap().into_inner().runs;
    assert_eq!(runs.len(), 1);
}

#[tokio::test]
async fn runs_are_refused_with_the_reason() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    let reconcile = v1::ReconcileRequest { backend: "nobody".into(), ..v1::ReconcileRequest::default() };
    let unknown = admin.reconcile(reconcile).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let import = |backend: &str, bucket: &str| v1::ImportRequest {
        backend: backend.into(),
        bucket: bucket.into(),
        ..v1::ImportRequest::default()
    };
    let name = plane.fakes.config.borrow().backends[0].spec.name.clone();
    assert_eq!(admin.import(import(&name, "nothing")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(admin.import(import("nobody", "photos")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(admin.import(import(&name, "")).await.unwrap_err().code(), Code::InvalidArgument);
    let busy = admin.import(import(&name, "photos")).await.unwrap_err();
    assert!(busy.message().contains("under way"), "{busy}");
}

/// The worker is held then: whoever followed a run would wait without a word.
#[tokio::test]
async fn in_the_recovery_mode_no_run_is_begun() {
    let plane = Plane::start().await;
    let mut admin = admin(&plane, "admin-token");
    *plane.fakes.recovery.lock().unwrap() = Some("an older database".to_owned());
    let request = v1::ReconcileRequest { dry_run: true, ..v1::ReconcileRequest::default() };
    let refused = admin.reconcile(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("an older database"), "{refused}");
    let name = plane.fakes.config.borrow().backends[0].spec.name.clone();
    let import = v1::ImportRequest {
        backend: name,
        bucket: "photos".to_owned(),
        dry_run: true,
        ..v1::ImportRequest::default()
    };
    assert_eq!(admin.import(import).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(plane.fakes.runs_asked.lock().unwrap().is_empty(), "none is begun");
}
