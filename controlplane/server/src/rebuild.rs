//! `s3o rebuild`: an empty database is filled from the backends that the file declares.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use s3o_core::config::DeclaredBackend;
use s3o_core::restore::RestoreReport;
use s3o_store::{Store, StoreOptions};
use s3o_types::{BackendId, BackendSpec, Place};
use s3o_workers::RestoreDeps;

use crate::{ControlPlaneConfig, store};

/// Fills the database, and applies the declaration to it. `without`: backends that are lost. The recovery mode is on
/// afterwards: nothing is deleted until an operator has read the report.
pub async fn rebuild(config: &ControlPlaneConfig, without: &[String]) -> anyhow::Result<RestoreReport> {
    let url = config.database.url.expose();
    Store::migrate(url).await?;
    let (instance, cleanup_times) = (config.instance.clone(), config.cleanup.times());
    let options = StoreOptions { instance, cleanup_times, ..StoreOptions::new(url) };
    let opened = Arc::new(Store::connect(options).await?);
    let declared = config.declared().map_err(|error| anyhow!(error))?;
    let specs = declared.backends.iter().map(spec).collect();
    let buckets: Vec<String> =
        declared.buckets.iter().map(|bucket| bucket.name.as_str().to_owned()).collect();
    let deps =
        RestoreDeps { restore: opened.clone(), reconciliation: opened.clone(), recovery: opened.clone() };
    let report = deps.rebuild(specs, &buckets, without).await.map_err(|error| anyhow!(error));
    let report = report.context("rebuilding the database from the backends")?;
    store::apply(&opened, config)
        .await
        .context("the database is rebuilt; applying what the file declares")?;
    opened.close().await;
    Ok(report)
}

/// Its id is what its marker says.
fn spec(declared: &DeclaredBackend) -> BackendSpec {
    BackendSpec {
        id: BackendId(0),
        name: declared.name.clone(),
        endpoint: declared.endpoint.clone(),
        region: declared.region.clone(),
        bucket: declared.bucket.clone(),
        place: Place::FIRST,
        credentials: declared.credentials.clone(),
        quirks: declared.quirks.clone(),
    }
}
