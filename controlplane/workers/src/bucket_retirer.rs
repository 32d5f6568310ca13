//! Takes deleted buckets of which no row names a byte any more out of `deleting`: their names are free then.

use std::sync::Arc;

use async_trait::async_trait;
use s3o_core::ports::Buckets;
use s3o_core::worker::Counts;

use crate::harness::Worker;

pub(crate) struct BucketRetirer(pub(crate) Arc<dyn Buckets>);

#[async_trait]
impl Worker for BucketRetirer {
    async fn tick(&self) -> Result<Counts, String> {
        self.0.retire().await.map_err(|error| error.to_string())
    }
}
