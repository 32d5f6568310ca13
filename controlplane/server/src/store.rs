//! How the store is opened and told what is declared.

use s3o_store::{Store, StoreError, StoreOptions};

use crate::ControlPlaneConfig;

/// Brings the schema up to date, connects and applies the declaration.
pub(crate) async fn open(config: &ControlPlaneConfig) -> Result<Store, StoreError> {
    let url = config.database.url.expose();
    Store::migrate(url).await?;
    let options = StoreOptions {
        instance: config.instance.clone(),
        cleanup_times: config.cleanup.times(),
        lanes: config.database.lanes,
        begin_lanes: config.database.begin_lanes,
        batch_items: config.database.batch_items,
        ..StoreOptions::new(url)
    };
    let store = Store::connect(options).await?;
    apply(&store, config).await?;
    Ok(store)
}

/// Applies what the file declares, once for each content.
pub(crate) async fn apply(store: &Store, config: &ControlPlaneConfig) -> Result<(), StoreError> {
    let wrong = |why: String| StoreError::Config(why);
    let declared = config.declared().map_err(wrong)?;
    let hash = config.declared_hash().map_err(|error| wrong(error.to_string()))?;
    store.apply_declared(&declared, &hash).await
}

/// Whether waiting cannot help.
pub(crate) const fn is_final(error: &StoreError) -> bool {
    match error {
        StoreError::Config(_)
        | StoreError::Declaration(_)
        | StoreError::Schema { .. }
        | StoreError::TransactionPooling(_)
        | StoreError::OldServer(_) => true,
        StoreError::Unavailable(_) | StoreError::Migration(_) | StoreError::Corrupt(_) => false,
    }
}
