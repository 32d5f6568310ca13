//! What operators change under running clients: quotas, factors, drains.
//!
//! Invariant: the files of all control planes say what is declared, before anybody is told to read them.

use anyhow::{Context, Result};
use s3o_proto::v1::admin_client::AdminClient;
use s3o_proto::v1::{DrainBackendRequest, UndrainBackendRequest};

use crate::campaign::buckets::{BUCKETS, Declared, QUOTA};
use crate::campaign::field::{Field, PATIENCE};
use crate::wire::Authorized;

/// Sets a backend's quota, in bytes; `None`: as it was.
pub(super) async fn quota(field: &mut Field, backend: usize, bytes: Option<u64>) -> Result<()> {
    field.declare(|declared: &mut Declared| declared.quotas[backend] = bytes.unwrap_or(QUOTA)).await
}

/// Sets a bucket's factor; `None`: as it was.
pub(super) async fn factor(field: &mut Field, bucket: usize, factor: Option<usize>) -> Result<()> {
    field
        .declare(|declared: &mut Declared| {
            declared.factors[bucket] = factor.unwrap_or(BUCKETS[bucket].factor);
        })
        .await
}

pub(super) async fn drain(field: &Field, backend: usize) -> Result<()> {
    ask(field, backend, async |admin, name| {
        // Its progress is nobody's interest here: the drain goes on when the stream is dropped.
        admin.drain_backend(DrainBackendRequest { name }).await?;
        Ok(())
    })
    .await
}

pub(super) async fn undrain(field: &Field, backend: usize) -> Result<()> {
    ask(field, backend, async |admin, name| {
        admin.undrain_backend(UndrainBackendRequest { name }).await?;
        Ok(())
    })
    .await
}

/// Asks one control plane after the other, until one has done it.
async fn ask(
    field: &Field,
    backend: usize,
    call: impl AsyncFn(&mut AdminClient<Authorized>, String) -> Result<()>,
) -> Result<()> {
    let mut last = None;
    for index in 0..field.cluster.control.len() {
        let name = field.cluster.backends[backend].name.clone();
        let asked = async {
            let mut admin = field.cluster.admin(index).await?;
            call(&mut admin, name).await
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = Some(error),
            Err(elapsed) => last = Some(elapsed.into()),
        }
    }
    Err(last.context("no control plane")?)
}
