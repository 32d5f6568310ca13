//! The configuration that the database serves: read as one snapshot, watched for newer generations.
//!
//! Invariant: only the database mints generations, in the transaction that changes the rows; what is
//! served is always one generation whole.

mod buckets;
mod declare;
mod object_lock;
mod versioning;

pub(crate) use buckets::{Uploads, delete_empty};
pub(crate) use declare::retire_empty;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use s3o_core::config::{ClusterConfig, MarkerPlace, MarkerSeen};
use s3o_core::ports::{Configs, PortError};
use s3o_types::EtagProof;
use tokio::sync::{Notify, watch};
use tokio_postgres::{IsolationLevel, Transaction};
use tokio_util::sync::CancellationToken;

use crate::Store;
use crate::error::Failure;
use crate::pool::Pool;
use crate::rows::ConfigRows;
use crate::stats::Breaker;

/// How often other replicas' changes are looked for. It is the heartbeat of the breaker too.
const POLL_EVERY: Duration = Duration::from_secs(1);

const GENERATION: &str = "SELECT value::bigint FROM settings WHERE name = 'generation'";

/// Only for the place that was looked at: a declaration may have moved the backend meanwhile.
const ATTACH: &str = "
    WITH changed AS (
        UPDATE backends SET attached = true, etag_proof = $4
        WHERE id = $1 AND spec->>'endpoint' = $2 AND spec->>'bucket' = $3 AND state <> 'removed'
          AND (NOT attached OR etag_proof <> $4) RETURNING id
    )
    UPDATE settings SET value = to_jsonb(value::bigint + 1)
    WHERE name = 'generation' AND EXISTS (SELECT FROM changed)";

const DETACH: &str = "
    WITH changed AS (
        UPDATE backends SET attached = false
        WHERE id = $1 AND spec->>'endpoint' = $2 AND spec->>'bucket' = $3 AND attached RETURNING id
    )
    UPDATE settings SET value = to_jsonb(value::bigint + 1)
    WHERE name = 'generation' AND EXISTS (SELECT FROM changed)";

/// Reads the newest generation whole.
pub(crate) async fn load(pool: &Pool) -> Result<ClusterConfig, Failure> {
    pool.retried(|| load_once(pool)).await
}

async fn load_once(pool: &Pool) -> Result<ClusterConfig, Failure> {
    pool.with_connection(async |connection| {
        let snapshot = connection
            .client_mut()
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let buckets = "SELECT * FROM buckets WHERE state <> 'gone' ORDER BY name";
        let backends = "SELECT * FROM backends WHERE state <> 'removed' ORDER BY priority, position, id";
        let grants = "SELECT * FROM grants ORDER BY access_key_id, bucket";
        let scopes = "SELECT * FROM scoped_grants ORDER BY access_key_id, bucket, prefix";
        let rows = ConfigRows {
            settings: snapshot.query("SELECT name, value FROM settings", &[]).await?,
            backends: snapshot.query(backends, &[]).await?,
            buckets: snapshot.query(buckets, &[]).await?,
            credentials: snapshot.query("SELECT * FROM credentials ORDER BY access_key_id", &[]).await?,
            grants: snapshot.query(grants, &[]).await?,
            scopes: snapshot.query(scopes, &[]).await?,
        };
        snapshot.commit().await?;
        ClusterConfig::try_from(rows)
    })
    .await
}

/// Looks for newer generations until the store is closed.
pub(crate) async fn watch_generation(
    pool: Arc<Pool>,
    breaker: Arc<Breaker>,
    wake: Arc<Notify>,
    served: watch::Sender<Arc<ClusterConfig>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = refresh(&pool, &served) => looked,
        };
        match looked {
            Ok(()) => breaker.succeeded(),
            Err(failure) if failure.is_passing() => breaker.failed(&failure.to_string()),
            Err(failure) => tracing::error!(%failure, "the configuration in the database cannot be read"),
        }
    }
}

/// The configuration is another one now: its generation.
pub(crate) async fn mint(transaction: &Transaction<'_>) -> Result<i64, Failure> {
    let mint = "UPDATE settings SET value = to_jsonb(value::bigint + 1) WHERE name = 'generation'
                RETURNING value::bigint";
    Ok(transaction.query_one(mint, &[]).await?.get(0))
}

async fn generation(pool: &Pool) -> Result<i64, Failure> {
    let rows = pool.run(GENERATION, &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

async fn refresh(pool: &Pool, served: &watch::Sender<Arc<ClusterConfig>>) -> Result<(), Failure> {
    if generation(pool).await? == served.borrow().generation {
        return Ok(());
    }
    let config = Arc::new(load(pool).await?);
    // A restored database may count from an older number: what it has is what is served.
    served.send_replace(config);
    Ok(())
}

const fn proof_word(proof: EtagProof) -> &'static str {
    match proof {
        EtagProof::Unknown => "unknown",
        EtagProof::Md5 => "md5",
        EtagProof::Md5Trailer => "md5_trailer",
        EtagProof::Opaque => "opaque",
    }
}

#[async_trait]
impl Configs for Store {
    fn current(&self) -> Arc<ClusterConfig> {
        self.inner.config.borrow().clone()
    }

    async fn newer_than(&self, generation: i64) -> Arc<ClusterConfig> {
        let mut config = self.inner.config.clone();
        let newer =
            config.wait_for(|config| config.generation != generation).await.ok().map(|config| config.clone());
        match newer {
            Some(config) => config,
            // The watcher has ended with the store: there will be no newer one.
            None => std::future::pending().await,
        }
    }

    async fn newest(&self) -> Result<Arc<ClusterConfig>, PortError> {
        let served = self.current();
        if generation(&self.inner.general).await? == served.generation {
            return Ok(served);
        }
        self.inner.wake_config.notify_one();
        Ok(Arc::new(load(&self.inner.general).await?))
    }

    async fn attach(&self, seen: MarkerSeen) -> Result<(), PortError> {
        let MarkerSeen { place: MarkerPlace { backend, endpoint, bucket }, etag } = seen;
        self.inner.general.run(ATTACH, &[&backend.0, &endpoint, &bucket, &proof_word(etag)]).await?;
        // The change is served at once, not at the next poll.
        self.inner.wake_config.notify_one();
        Ok(())
    }

    async fn detach(&self, seen: MarkerPlace) -> Result<(), PortError> {
        let MarkerPlace { backend, endpoint, bucket } = seen;
        self.inner.general.run(DETACH, &[&backend.0, &endpoint, &bucket]).await?;
        // The change is served at once, not at the next poll.
        self.inner.wake_config.notify_one();
        Ok(())
    }
}
