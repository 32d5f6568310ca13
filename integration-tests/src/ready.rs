//! What a cluster is waited for: backends that can be written to, data planes that know and decide.

use anyhow::{Result, ensure};

use crate::cluster::Cluster;
use crate::config::BUCKET;
use crate::raw::Request;
use crate::wait;

impl Cluster {
    /// Waits until the marker of every backend was read, so that all can be written to.
    pub async fn wait_attached(&self) -> Result<()> {
        let wanted = i64::try_from(self.backends.len())?;
        wait::until("every backend attached", || async {
            let row =
                self.sql().await?.query_one("SELECT count(*) FROM backends WHERE attached", &[]).await?;
            Ok(row.get::<_, i64>(0) >= wanted)
        })
        .await
    }

    /// Waits until every data plane decides by the database: control plane or database were away, and a breaker may be
    /// open, or about to open.
    pub async fn wait_decided(&self) -> Result<()> {
        for data in 0..self.data.len() {
            wait::until("a data plane that decides by the database", || async {
                let answer = self.raw(data).send(&Request::new("GET", &format!("/{BUCKET}/nobody"))).await?;
                Ok(answer.status == 404 && answer.header("x-s3o-degraded").is_none())
            })
            .await?;
        }
        Ok(())
    }

    /// The number of the newest configuration.
    pub async fn generation(&self) -> Result<i64> {
        let newest = "SELECT value::bigint FROM settings WHERE name = 'generation'";
        Ok(self.sql().await?.query_one(newest, &[]).await?.get(0))
    }

    /// Waits until a data plane has the newest configuration.
    pub async fn wait_configured(&self, data: usize) -> Result<()> {
        wait::until("the newest configuration", || async {
            let newest = self.generation().await?;
            let (_, health) = wait::http_get(self.data[data].http, "/health").await?;
            Ok(health.contains(&format!("\"generation\":{newest}")))
        })
        .await
    }

    /// The data plane that has answered a change knows it at once. Only where catching up took it too long, as its log
    /// says then, it is waited for; of an earlier change's delay the log says the same.
    pub async fn knows<F>(&self, data: usize, what: &str, mut ask: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        if ask().await? {
            return Ok(());
        }
        let late = self.data[data].process.output().contains("has not come yet");
        ensure!(late, "who answered a change does not know it: {what}");
        wait::until(what, ask).await
    }
}
