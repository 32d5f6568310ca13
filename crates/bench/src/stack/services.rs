//! Control planes and data planes as processes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{BUCKET, ControlOptions, DataOptions, Stack, config, http};
use crate::procs::{Child, Groups, binary, free_port};
use crate::target::Target;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    pub(super) process: Child,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl ControlPlane {
    pub(crate) const fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// A data plane.
#[derive(Debug)]
pub(super) struct DataPlane {
    pub(super) process: Child,
    s3: SocketAddr,
}

impl Stack {
    fn start_service(&self, name: &str, program: &str, file: &Value) -> Result<Child> {
        let path = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&path, serde_json::to_vec_pretty(file)?)?;
        let program = binary(program, Some(&self.binaries)).context(
            "build it: cargo build --release -p s3o-controlplane -p s3o-dataplane, or use `make bench`",
        )?;
        let path = path.to_str().context("the data folder is not UTF-8")?;
        Child::start(name, &program, &["--config", path], &self.folder.join(format!("{name}.log")))
    }

    /// Starts one more control plane and waits until it can place objects. Its index.
    pub(crate) async fn add_control_plane(&mut self, options: &ControlOptions) -> Result<usize> {
        let index = self.control_planes.len();
        let (grpc, http) = (free_port()?, free_port()?);
        let name = format!("control-{index}");
        let mut file = config::control_plane(&name, grpc, http, &self.postgres.url(), self.backend, options);
        for (name, value) in &self.database {
            file["database"][name] = (*value).into();
        }
        let process = self.start_service(&name, "s3o-controlplane", &file)?;
        wait_ready(http, &process).await?;
        self.control_planes.push(ControlPlane { process, grpc, http });
        self.wait_attached().await?;
        Ok(index)
    }

    /// Waits until the marker of every backend was read.
    async fn wait_attached(&self) -> Result<()> {
        let (sql, end) = (self.sql().await?, Instant::now() + PATIENCE);
        let attached = "SELECT bool_and(attached) FROM backends";
        while sql.query_one(attached, &[]).await?.get::<_, Option<bool>>(0) != Some(true) {
            self.check()?;
            if Instant::now() > end {
                bail!("the control plane does not take the null backend");
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Starts `count` data planes in front of the control planes `control`; they are one target.
    pub(crate) async fn add_data_planes(
        &mut self,
        name: &str,
        count: usize,
        control: &[usize],
        options: &DataOptions,
    ) -> Result<Target> {
        let chosen = || control.iter().filter_map(|index| self.control_planes.get(*index));
        let grpc: Vec<SocketAddr> = chosen().map(|plane| plane.grpc).collect();
        let metrics: Vec<SocketAddr> = chosen().map(|plane| plane.http).collect();
        let mut groups = Groups {
            control: chosen().map(ControlPlane::pid).collect(),
            postgres: self.postgres.pid().into_iter().collect(),
            ..self.backend_group()
        };
        let mut addresses = Vec::new();
        for index in 0..count {
            let (s3, http) = (free_port()?, free_port()?);
            let name = format!("{name}-data-{index}");
            let snapshot = self.folder.join(format!("{name}.snapshot"));
            let process = self.start_service(
                &name,
                "s3o-dataplane",
                &config::data_plane(&name, s3, http, &grpc, &snapshot, options),
            )?;
            wait_ready(http, &process).await?;
            groups.front.push(process.pid());
            addresses.push(s3);
            self.data_planes.push(DataPlane { process, s3 });
        }
        Ok(ours(name, addresses, groups, metrics))
    }

    /// The first data planes of a target, as a target of their own.
    pub(crate) fn part(&self, whole: &Target, name: &str, count: usize) -> Target {
        let addresses: Vec<SocketAddr> = whole.addresses.iter().copied().take(count).collect();
        let front = self.data_planes.iter().filter(|plane| addresses.contains(&plane.s3));
        let groups =
            Groups { front: front.map(|plane| plane.process.pid()).collect(), ..whole.groups.clone() };
        ours(name, addresses, groups, whole.metrics.clone())
    }
}

/// The same data planes, asked for another bucket.
pub(crate) fn in_bucket(whole: &Target, name: &str, bucket: String) -> Target {
    Target { name: name.to_owned(), bucket, ..whole.clone() }
}

fn ours(name: &str, addresses: Vec<SocketAddr>, groups: Groups, metrics: Vec<SocketAddr>) -> Target {
    Target {
        name: name.to_owned(),
        // One host for all, so that a request is signed for all of them.
        host: addresses.first().map(ToString::to_string).unwrap_or_default(),
        addresses,
        access_key: config::KEY.0.to_owned(),
        secret: config::KEY.1.to_owned(),
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        groups,
        metrics,
        is_null: false,
    }
}

async fn wait_ready(address: SocketAddr, process: &Child) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !matches!(http(address, "GET", "/health/ready").await, Ok((200, _))) {
        process.check()?;
        if Instant::now() > end {
            bail!("http://{address}/health/ready does not answer 200");
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
