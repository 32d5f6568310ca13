//! What operators change under running clients: quotas, factors, drains.
//!
//! Invariant: the files of all control planes say what is declared, before anybody is told to read them.

use anyhow::{Context, Result};
use s3o_proto::v1::{DrainBackendRequest, UndrainBackendRequest};

use crate::campaign::buckets::{BUCKETS, Declared, QUOTA};
use crate::campaign::field::Field;

/// Sets a backend's quota, in bytes; `None`: as it was.
pub(super) async fn quota(field: &mut Field, backend: usize, bytes: Option<u64>) -> Result<()> {
    field.declare(|declared: &mut Declared| declared.quotas[backend] = bytes.unwrap_or(QUOTA)).await
}

/// Sets a bucket's factor; `None`: as it was.
pub(super) async fn factor(field: &mut Field, bucket: usize, factor: Option<usize>) -> Result<()> {
    field
        .declare(|declared: &mut Declared| {
            declared.factors[bucket] = factor.unwrap_or(BUCKETS[bucket].factor)
        })
        .await
}

pub(super) async fn drain(field: &Field, backend: usize) -> Result<()> {
    let name = field.cluster.backends[backend].name.clone();
    for index in 0..field.cluster.control.len() {
        let Ok(mut admin) = field.cluster.admin(index).await else { continue };
        // Its progress is nobody's interest here: the drain goes on when the stream is dropped.
        if admin.drain_backend(DrainBackendRequest { name: name.clone() }).await.is_ok() {
            return Ok(());
        }
    }
    anyhow::bail!("no control plane took the drain of {name}")
}

pub(super) async fn undrain(field: &Field, backend: usize) -> Result<()> {
    let name = field.cluster.backends[backend].name.clone();
    let mut last = None;
    for index in 0..field.cluster.control.len() {
        let undrained = async {
            let mut admin = field.cluster.admin(index).await?;
            admin.undrain_backend(UndrainBackendRequest { name: name.clone() }).await?;
            anyhow::Ok(())
        };
        match undrained.await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no control plane")?).with_context(|| format!("undraining {name}"))
}
