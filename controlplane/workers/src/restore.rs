//! Makes a database again from the backends, or merges into one what the backends have newer.
//!
//! Invariants: nothing is deleted on any backend, nor queued for it but what the journal says was deleted; a backend that does
//! not answer ends it, since what it holds would count as lost; it can be done again from the beginning at any time.

mod blobs;
mod buckets;
mod journal;
mod plan;
mod recover;

use std::collections::BTreeSet;
use std::sync::Arc;

use s3o_backend::{
    Backend, BackendClient, BackendSet, BreakerConfig, HttpPool, Meters, Timeouts, read_marker,
};
use s3o_core::journal::{LogPlace, StoredFile};
use s3o_core::ports::{PortError, Reconciliation, Recovery, Restore};
use s3o_core::restore::{KnownBackend, RestoreReport};
use s3o_types::{BackendId, BackendSpec, EtagProof, VersionId};
use uuid::Uuid;

use buckets::Buckets;
use plan::Holders;

pub(crate) use recover::Recoverer;

/// How many lost versions are told by name.
const TOLD: u32 = 500;

/// What a database is made from, and by.
#[derive(Clone)]
pub struct RestoreDeps {
    /// Where records are staged and applied.
    pub restore: Arc<dyn Restore>,
    /// Counts the bytes afterwards.
    pub reconciliation: Arc<dyn Reconciliation>,
    /// Keeps everything from being deleted until somebody has looked.
    pub recovery: Arc<dyn Recovery>,
}

/// One run.
pub(crate) struct Restorer {
    restore: Arc<dyn Restore>,
    reconciliation: Arc<dyn Reconciliation>,
    recovery: Arc<dyn Recovery>,
    backends: Vec<Arc<Backend>>,
    /// Those whose ETags are MD5s.
    md5: Vec<BackendId>,
    /// The journal's files.
    stored: Vec<StoredFile>,
    /// Keys of those that are the database's own.
    known: BTreeSet<String>,
    /// The records of the others: from behind one up to another.
    lost: Vec<(i64, i64)>,
    /// The buckets of the newest file, by whose numbers the records of the others are.
    newest: Buckets,
    /// The database's, by whose numbers those of its own are.
    present: Buckets,
    /// Up to where the database's own log is staged.
    own: LogPlace,
    /// Whether records are missing of before the journal's end.
    has_gap: bool,
    report: RestoreReport,
}

impl RestoreDeps {
    fn restorer(self, backends: Vec<Arc<Backend>>, md5: Vec<BackendId>) -> Restorer {
        let Self { restore, reconciliation, recovery } = self;
        Restorer {
            restore,
            reconciliation,
            recovery,
            backends,
            md5,
            stored: Vec::new(),
            known: BTreeSet::new(),
            lost: Vec::new(),
            newest: Buckets::default(),
            present: Buckets::default(),
            own: LogPlace::default(),
            has_gap: false,
            report: RestoreReport::default(),
        }
    }

    /// Fills an empty database. `specs`: the backends as they are declared, whatever their ids; `buckets`: those that are
    /// declared, in case the journal names none; `without`: backends that are lost, by name.
    pub async fn rebuild(
        self,
        specs: Vec<BackendSpec>,
        buckets: &[String],
        without: &[String],
    ) -> Result<RestoreReport, String> {
        let pool = HttpPool::new(Timeouts::default());
        let (cluster, specs) = marked(specs, &pool).await?;
        let known = specs.iter().map(|(spec, _)| known(spec)).collect();
        let is_md5 = |(spec, proof): &(BackendSpec, EtagProof)| proof.is_md5().then_some(spec.id);
        let md5 = specs.iter().filter_map(is_md5).collect();
        let set = BackendSet::new(pool, Meters::none(), BreakerConfig::default());
        set.rebuild(specs.into_iter().map(|(spec, _)| spec).collect());
        self.restorer(set.all(), md5).rebuild((cluster, known), buckets, without).await
    }

    /// Merges what the journal has from segment `next` on, and blobs of after its end, into a database that lacks them.
    pub(crate) async fn recover(
        self,
        backends: Vec<Arc<Backend>>,
        cluster: Uuid,
        own: Own,
    ) -> Result<RestoreReport, String> {
        for backend in &backends {
            is_ours(backend, cluster).await?;
        }
        let md5 = backends.iter().filter(|backend| backend.etag_proof().is_md5()).map(|b| b.id()).collect();
        self.restorer(backends, md5).recover(own).await
    }
}

/// Where the database's own journal is.
pub(crate) struct Own {
    /// The number of its next segment.
    pub(crate) next: u64,
    /// Up to where its log is shipped: what was done since must not be undone.
    pub(crate) shipped: LogPlace,
    /// The keys of its files.
    pub(crate) known: Vec<String>,
}

impl Restorer {
    async fn rebuild(
        mut self,
        (cluster, known): (Uuid, Vec<KnownBackend>),
        buckets: &[String],
        without: &[String],
    ) -> Result<RestoreReport, String> {
        let files = self.files().await?;
        let (plan, of_snapshot) = self.whole_plan(&files).await;
        let newest = self.newest_end(&files, 0).await?.map(|ended| ended.header).or(of_snapshot);
        let header = match newest {
            Some(header) if cluster_of(&header) != Some(cluster) => {
                return Err(format!(
                    "the journal is not of cluster {cluster}, whose markers the backends have"
                ));
            }
            Some(header) => header,
            None if files.is_empty() => bare_header(cluster, buckets),
            None => return Err("the journal's newest file cannot be read on any backend".to_owned()),
        };
        all_there(&header, &known, without)?;
        self.restore.restore_identity(&header, known).await.map_err(text)??;
        self.recovery
            .enter_recovery(
                "the database was rebuilt from the backends: read its report, then run `s3o recover`",
            )
            .await
            .map_err(text)?;
        self.restore.restore_begin().await.map_err(text)?;
        self.merge(&files, plan, &header).await
    }

    async fn recover(mut self, own: Own) -> Result<RestoreReport, String> {
        self.known = own.known.into_iter().collect();
        self.own = own.shipped;
        let files = self.files().await?;
        let mut plan = plan::from(&files, own.next);
        if plan.missing.first() == Some(&own.next) {
            // It was deleted since: what it had is in a snapshot.
            plan = self.whole_plan(&files).await.0;
        }
        self.restore.restore_begin().await.map_err(text)?;
        // One of before says nothing that the database does not know better.
        let newest = self.newest_end(&files, own.next).await?;
        let header = newest.map_or_else(|| bare_header(Uuid::nil(), &[]), |ended| ended.header);
        self.stage_own().await?;
        self.merge(&files, plan, &header).await
    }

    async fn merge(
        mut self,
        files: &Holders,
        plan: plan::Plan,
        header: &str,
    ) -> Result<RestoreReport, String> {
        self.newest = Buckets::of(header);
        self.present = Buckets::of(&self.restore.restore_buckets().await.map_err(text)?);
        let mark = self.stage(files, plan).await?;
        self.stage_blobs().await?;
        self.report.buckets += self.restore.restore_staged(header, &self.lost).await.map_err(text)??;
        self.apply(0).await?;
        let named = self.restore.restore_last_record().await.map_err(text)?;
        // Without a journal every blob may be an object; where nothing of it was to be read, its end says from where on.
        let open = match mark {
            Some(mark) => mark,
            None => {
                self.newest_end(files, 0).await?.map_or(VersionId::from_uuid(Uuid::nil()), |ended| ended.open)
            }
        };
        self.revive(open).await?;
        self.apply(named).await?;
        self.report.buckets += self.restore.restore_buckets_end(header).await.map_err(text)?;
        self.report.lost = self.restore.restore_lost(TOLD).await.map_err(text)?;
        let stored = std::mem::take(&mut self.stored);
        self.restore.restore_end(open, stored).await.map_err(text)?;
        self.reconciliation.audit(true).await.map_err(text)?;
        Ok(self.report)
    }

    /// Stages what clients have deleted by now.
    async fn stage_own(&mut self) -> Result<(), String> {
        loop {
            let (upto, more) = self.restore.restore_own(self.own).await.map_err(text)?;
            self.own = upto;
            if !more {
                return Ok(());
            }
        }
    }

    /// Brings the keys of the records behind one to what they say.
    async fn apply(&mut self, record: i64) -> Result<(), String> {
        let mut after = (0, String::new());
        loop {
            self.stage_own().await?;
            let page = self.restore.restore_keys(&after, record, self.own, &self.md5).await.map_err(text)?;
            let Some((last, applied)) = page else { return Ok(()) };
            self.report.applied += applied;
            after = last;
        }
    }
}

/// The backends with the ids that their markers say, what their ETags prove, and whose they are.
async fn marked(
    specs: Vec<BackendSpec>,
    pool: &HttpPool,
) -> Result<(Uuid, Vec<(BackendSpec, EtagProof)>), String> {
    let mut cluster: Option<Uuid> = None;
    let mut marked: Vec<(BackendSpec, EtagProof)> = Vec::new();
    for mut spec in specs {
        let client = BackendClient::new(spec.clone(), pool.clone());
        let name = spec.name.clone();
        let found = read_marker(&client).await.map_err(|error| format!("{name}: its marker: {error}"))?;
        // It was added later than the journal knows, or never written to.
        let Some((marker, proof)) = found else { continue };
        let marker = marker.map_err(|error| format!("{name}: its marker cannot be read: {error}"))?;
        let of: Uuid = marker.cluster_id.parse().map_err(|error| format!("{name}: its marker: {error}"))?;
        if *cluster.get_or_insert(of) != of {
            return Err(format!("{name} belongs to cluster {of}, other backends to another"));
        }
        if marked.iter().any(|(other, _)| other.id == marker.backend_id) {
            return Err(format!("{name} is the same bucket as another backend"));
        }
        spec.id = marker.backend_id;
        marked.push((spec, proof));
    }
    let cluster = cluster.ok_or("no backend has a marker: there is nothing to rebuild from")?;
    Ok((cluster, marked))
}

/// What its folder or bucket holds is believed only where it shows our marker.
async fn is_ours(backend: &Arc<Backend>, cluster: Uuid) -> Result<(), String> {
    let name = backend.name();
    let found = backend.read_marker().await.map_err(|error| format!("{name}: its marker: {error}"))?;
    match found {
        Some((Ok(marker), _))
            if marker.cluster_id == cluster.to_string() && marker.backend_id == backend.id() =>
        {
            Ok(())
        }
        Some(_) => Err(format!("{name} shows a marker that is not its own")),
        None => Err(format!("{name} shows no marker: is its folder mounted, its endpoint right?")),
    }
}

/// Every backend that the journal knows is declared and shows its marker, or is given up by name.
fn all_there(header: &str, found: &[KnownBackend], without: &[String]) -> Result<(), String> {
    let header: serde_json::Value = serde_json::from_str(header).map_err(|error| error.to_string())?;
    let known = header.get("backends").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    for backend in known.iter().filter(|backend| backend["state"] != "removed") {
        let id = backend["id"].as_i64().unwrap_or_default();
        let name = backend["name"].as_str().unwrap_or_default();
        let is_there = found.iter().any(|there| i64::from(there.id.0) == id);
        if !is_there && !without.iter().any(|other| other == name) {
            return Err(format!(
                "backend {name} is not declared, or shows no marker: what it holds would count as lost. If it is lost, \
                 say `--without {name}`"
            ));
        }
    }
    Ok(())
}

fn known(spec: &BackendSpec) -> KnownBackend {
    let BackendSpec { id, name, endpoint, bucket, .. } = spec.clone();
    KnownBackend { id, name, endpoint, bucket }
}

fn cluster_of(header: &str) -> Option<Uuid> {
    let header: serde_json::Value = serde_json::from_str(header).ok()?;
    header.get("cluster")?.as_str()?.parse().ok()
}

/// Where there is no journal: the declared buckets, in their order.
fn bare_header(cluster: Uuid, buckets: &[String]) -> String {
    let bucket =
        |(n, name): (usize, &String)| serde_json::json!({"id": n + 1, "name": name, "declared": true});
    let buckets: Vec<serde_json::Value> = buckets.iter().enumerate().map(bucket).collect();
    serde_json::json!({"cluster": cluster.to_string(), "change_seq": 0, "version_seq": 0, "buckets": buckets,
                       "backends": [], "grants": []})
    .to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn text(error: PortError) -> String {
    error.to_string()
}
