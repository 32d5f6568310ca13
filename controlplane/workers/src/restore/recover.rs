//! The end of the recovery mode, when an operator asks for it.

use std::sync::Arc;
use std::time::Duration;

use s3o_backend::Backend;
use s3o_core::cleanup::Claim;
use s3o_core::journal::JournalState;
use s3o_core::ports::{Configs, Journal, Reconciliation};
use s3o_core::reconcile::{AskRun, RunKind};
use s3o_core::restore::RestoreReport;
use s3o_runtime::audit;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Own, RestoreDeps, text};
use crate::Deps;
use crate::backends::Backends;

/// Long enough for most merges. Whoever takes the journal over meanwhile ships nothing while it is ahead.
const CLAIM_US: i64 = 6 * 60 * 60 * 1_000_000;
/// How often, and how long apart, the journal is asked for while another process has it.
const TRIES: (u32, Duration) = (20, Duration::from_millis(500));

pub(crate) struct Recoverer {
    journal: Arc<dyn Journal>,
    deps: RestoreDeps,
    backends: Arc<Backends>,
    configs: Arc<dyn Configs>,
    owner: Uuid,
    one_at_a_time: Mutex<()>,
}

impl Recoverer {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>) -> Self {
        let Deps { restore, reconciliation, recovery, journal, configs, .. } = deps;
        let of = RestoreDeps {
            restore: restore.clone(),
            reconciliation: reconciliation.clone(),
            recovery: recovery.clone(),
        };
        Self {
            journal: journal.clone(),
            deps: of,
            backends,
            configs: configs.clone(),
            // Not the workers': the journal's own would go on shipping under this claim.
            owner: Uuid::new_v4(),
            one_at_a_time: Mutex::default(),
        }
    }

    /// `without`: backends that are given up, by name.
    pub(crate) async fn recover(&self, without: &[String]) -> Result<RestoreReport, String> {
        let Ok(_alone) = self.one_at_a_time.try_lock() else {
            return Err("it is being recovered already".to_owned());
        };
        let Some(why) = self.deps.recovery.recovery().await.map_err(text)? else {
            return Err("the recovery mode is not on".to_owned());
        };
        let backends = self.but_for(without)?;
        audit!("recovery.start", why, without = without.join(" "));
        let state = self.claim().await?;
        let merged = self.merge(&state, backends.clone()).await;
        self.journal.release_journal(self.owner).await.map_err(text)?;
        let report = merged?;
        self.deps.recovery.end_recovery().await.map_err(text)?;
        compare_all(self.deps.reconciliation.as_ref(), &backends).await;
        // Whoever asked may have gone away.
        for line in report.lines() {
            tracing::info!(line, "recovered");
        }
        let (applied, lost_versions) = (report.applied, report.lost.count);
        audit!(
            "recovery.complete",
            added = applied.added,
            removed = applied.removed,
            revived = report.revived,
            lost_versions
        );
        Ok(report)
    }

    /// All backends but those that are given up.
    fn but_for(&self, without: &[String]) -> Result<Vec<Arc<Backend>>, String> {
        let all = self.backends.all();
        if let Some(unknown) = without.iter().find(|name| !all.iter().any(|b| b.name() == name.as_str())) {
            return Err(format!("there is no backend `{unknown}` to do without"));
        }
        Ok(all.into_iter().filter(|backend| !without.iter().any(|name| name == backend.name())).collect())
    }

    async fn merge(
        &self,
        state: &JournalState,
        backends: Vec<Arc<Backend>>,
    ) -> Result<RestoreReport, String> {
        let known = self.journal.journal_keys(0).await.map_err(text)?;
        let own = Own { next: state.segment, shipped: state.shipped, known };
        self.deps.clone().recover(backends, self.configs.current().cluster, own).await
    }

    /// The journal, as long as nobody else has it.
    async fn claim(&self) -> Result<JournalState, String> {
        let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: 1, due_for_us: 0 };
        for _ in 0..TRIES.0 {
            if let Some(state) = self.journal.claim_journal(claim).await.map_err(text)? {
                return Ok(state);
            }
            tokio::time::sleep(TRIES.1).await;
        }
        Err("another process has the journal: try again".to_owned())
    }
}

/// What was moved or rotted in the time that was lost is found by a run over each backend.
async fn compare_all(reconciliation: &dyn Reconciliation, backends: &[Arc<Backend>]) {
    for backend in backends {
        let kind = RunKind::Reconcile;
        let ask = AskRun { backend: backend.id(), kind, dry_run: false, accept_losses: false };
        let asked = reconciliation.ask(ask).await;
        if !matches!(asked, Ok(Ok(_))) {
            tracing::warn!(backend = backend.name(), ?asked, "ask for it yourself: s3o admin reconcile");
        }
    }
}
