//! A backend of a test: an S3 server that fails on purpose, behind a proxy that can keep its answers back.
//!
//! Invariant: what is stored is looked at in the server itself, not through anything that fails.

use anyhow::Result;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};

use crate::config::BackendEntry;
use crate::ports;
use crate::proxy::{Mode, Proxy};

/// One backend.
pub struct Backend {
    /// Its name in the configuration.
    pub name: String,
    /// The server, for what has no method here.
    pub server: FaultyBackend,
    /// The way to it.
    pub proxy: Proxy,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Answers are kept back while it lives.
#[derive(Debug)]
pub struct Gate<'a>(&'a Proxy);

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.0.set(Mode::Pass);
    }
}

impl Backend {
    /// Starts an honest one.
    pub async fn start(name: &str) -> Result<Self> {
        // A port of our own: it stays free while the server is down.
        let server = FaultyBackend::start_at(ports::free()?).await?;
        let proxy = Proxy::start(server.address()).await?;
        Ok(Self { name: name.to_owned(), server, proxy })
    }

    /// The same backend elsewhere: a server of its own with a copy of everything, the marker too.
    pub async fn moved(&self) -> Result<Self> {
        let new = Self::start(&self.name).await?;
        new.server.copy_from(&self.server);
        Ok(new)
    }

    /// As the control plane is told of it.
    pub fn entry(&self, quota_bytes: Option<u64>) -> BackendEntry {
        BackendEntry {
            name: self.name.clone(),
            endpoint: format!("http://{}", self.proxy.address()),
            bucket: FaultyBackend::BUCKET.to_owned(),
            keys: ("test".to_owned(), "test-secret".to_owned()),
            quota_bytes,
        }
    }

    /// Storage keys and sizes.
    pub fn stored(&self) -> Result<Vec<(String, u64)>> {
        self.server
            .blobs()
            .into_iter()
            .map(|(key, blob)| Ok((key, u64::try_from(blob.bytes.len())?)))
            .collect()
    }

    /// How many blobs there are, besides what is ours alone (the marker).
    pub fn blob_count(&self) -> usize {
        self.server
            .keys()
            .iter()
            .filter(|key| !key.starts_with(".s3o/") || key.starts_with(".s3o/long/"))
            .count()
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.server.heal();
        self.proxy.set(Mode::Pass);
    }

    /// Takes requests and does the work, but answers nothing while the gate lives.
    pub fn hold_replies(&self) -> Gate<'_> {
        self.proxy.set(Mode::HoldReplies);
        Gate(&self.proxy)
    }

    /// The next PUT is done and its answer lost.
    pub fn lose_next_put_reply(&self) {
        self.server.inject(Rule::new(Fault::LostReply).on(Operation::Put).times(1));
    }

    /// Every PUT is refused before its body is read, until it is healed.
    pub fn refuse_puts(&self) {
        self.server.inject(Rule::new(Fault::StatusEarly(503)).on(Operation::Put));
    }

    /// The next GET's body ends early, with a reset.
    pub fn cut_next_get(&self, after: u64) {
        self.server.inject(Rule::new(Fault::ResetSending { after }).on(Operation::Get).times(1));
    }

    /// The next GETs are answered 500.
    pub fn fail_next_gets(&self, times: u64) {
        self.server.inject(Rule::new(Fault::Status(500)).on(Operation::Get).times(times));
    }

    /// Everything but the marker is gone, behind everybody's back.
    pub fn lose_all_blobs(&self) {
        for key in self.server.keys().iter().filter(|key| !key.starts_with(".s3o/")) {
            self.server.remove(key);
        }
    }
}
