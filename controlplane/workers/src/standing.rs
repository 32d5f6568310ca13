//! How the backends look to whoever plans copies: which do not count, and which are the fullest.

use std::sync::Arc;
use std::time::Duration;

use s3o_core::ports::{Configs, Overview, Replication};
use s3o_core::replication::Standing;
use s3o_core::usage::{signed, spent};
use s3o_types::BackendId;
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;

pub(crate) struct Observer {
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    replication: Arc<dyn Replication>,
    backends: Arc<Backends>,
    replica: Uuid,
    unhealthy_threshold: Duration,
}

impl Observer {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, replica: Uuid) -> Self {
        Self {
            configs: deps.configs.clone(),
            overview: deps.overview.clone(),
            replication: deps.replication.clone(),
            backends,
            replica,
            unhealthy_threshold: deps.settings.unhealthy_threshold,
        }
    }

    /// Those that all replicas and data planes see as down, for longer than the operator bears.
    pub(crate) async fn unhealthy(&self) -> Result<Vec<BackendId>, String> {
        self.backends.meet().await;
        let threshold = i64::try_from(self.unhealthy_threshold.as_micros()).unwrap_or(i64::MAX);
        let views = self.backends.down_us();
        let agreed = self.replication.unhealthy(self.replica, views, threshold).await;
        agreed.map_err(|error| error.to_string())
    }

    /// Those that cannot be relied on at this moment: down, strangers, or without our marker.
    fn silent(&self) -> Vec<BackendId> {
        let mut silent = self.backends.silent();
        let config = self.configs.current();
        silent.extend(
            config.backends.iter().filter(|backend| !backend.attached).map(|backend| backend.spec.id),
        );
        silent
    }

    /// As of now.
    pub(crate) async fn look(&self) -> Result<Standing, String> {
        let usage = self.overview.backend_usage().await.map_err(|error| error.to_string())?;
        let config = self.configs.current();
        let quota = |id: BackendId| {
            let backend = config.backends.iter().find(|backend| backend.spec.id == id);
            i128::from(backend.and_then(|backend| backend.quota_bytes).map_or(i64::MAX, signed).max(1))
        };
        let mut fullness: Vec<(BackendId, i128, i128)> =
            usage.iter().map(|(id, usage, _)| (*id, i128::from(usage.total()), quota(*id))).collect();
        // Compared as total / quota, without dividing.
        fullness.sort_by(|(_, a, quota_a), (_, b, quota_b)| (b * quota_a).cmp(&(a * quota_b)));
        Ok(Standing {
            unhealthy: self.unhealthy().await?,
            silent: self.silent(),
            spent: spent(&config, &usage),
            fullest_first: fullness.into_iter().map(|(id, ..)| id).collect(),
        })
    }
}
