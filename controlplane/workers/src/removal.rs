//! Lets go what is on backends that are given up: copies one by one, uploads with parts there, and what was queued.
//!
//! Invariant: it only proposes. Whether a copy goes, and whether its version goes with it, is decided under the key's lock,
//! by how the backend is given up then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use s3o_core::call::{Call, GiveUp, Outcome};
use s3o_core::ports::{Ledger, Removals};
use s3o_core::removal::{HeldCopy, Removal};
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::{BackendId, ErrorCode, Extent, VersionId};
use uuid::Uuid;

use crate::Deps;
use crate::harness::{Worker, new_op, request};
use crate::stale_multipart::abort;

/// Copies looked up at once.
const PAGE: u32 = 500;
/// Pages in a tick.
const PAGES: u32 = 200;
/// Calls under way at once: enough for a batch, and clients' own batches go in another lane.
const AT_ONCE: usize = 64;

pub(crate) struct Remover {
    ledger: Arc<dyn Ledger>,
    removals: Arc<dyn Removals>,
    owner: Uuid,
    /// Where this process's look has come to; another one looks by itself, and twice is as good as once.
    places: Mutex<HashMap<BackendId, Place>>,
    shutdown: Shutdown,
}

/// Behind this copy; `None`: at the beginning.
type Place = Option<(VersionId, Extent)>;

impl Remover {
    pub(crate) fn new(deps: &Deps, owner: Uuid) -> Self {
        Self {
            ledger: deps.ledger.clone(),
            removals: deps.removals.clone(),
            owner,
            places: Mutex::default(),
            shutdown: deps.shutdown.clone(),
        }
    }

    async fn give_up(&self, backend: BackendId, copy: HeldCopy) -> Result<&'static str, String> {
        let HeldCopy { of, r#gen } = copy;
        let (op, bucket, key) = (new_op(), of.bucket.0, of.key.clone());
        let version = of.version.to_string();
        let call = Call::GiveUp(GiveUp { of, backend, r#gen });
        let request = request(self.owner, "removal", op, format!("give-up-{version}"), call);
        match self.ledger.submit(request).await {
            Outcome::CopyChanged => Ok("let_go"),
            Outcome::Deleted { .. } => {
                audit!("backend.remove.lost", request_id = %op, bucket, key, version, backend = backend.0);
                Ok("lost")
            }
            // Somebody else took it, or its version is gone.
            Outcome::Refused(refusal) if refusal.code == ErrorCode::NoSuchKey => Ok("gone"),
            Outcome::Refused(refusal) if refusal.code == ErrorCode::PreconditionFailed => Ok("kept"),
            Outcome::Refused(refusal) => Err(refusal.message),
            other => Err(format!("unexpected outcome {other:?}")),
        }
    }

    /// As many pages as a tick has time for; the next one goes on behind them, and at the end begins anew: what was kept may
    /// have been moved. One that fails does not hold up the others.
    async fn copies(&self, backend: BackendId, counts: &mut Counts) -> Result<(), String> {
        let (mut after, mut first_error) = (self.place(backend), None);
        for _ in 0..PAGES {
            if self.shutdown.is_stopping() {
                break;
            }
            let page = self.removals.held_copies(backend, after, PAGE).await;
            let page = page.map_err(|error| error.to_string())?;
            after = page.last().map(|copy| (copy.of.version, copy.of.extent));
            self.keep_place(backend, after);
            if after.is_none() {
                break;
            }
            let calls: Vec<_> = page.into_iter().map(|copy| self.give_up(backend, copy)).collect();
            let mut calls = futures::stream::iter(calls).buffer_unordered(AT_ONCE);
            while let Some(done) = calls.next().await {
                match done {
                    Ok(what) => count(counts, what),
                    Err(why) => first_error = first_error.or(Some(why)),
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn place(&self, backend: BackendId) -> Place {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&backend).copied().flatten()
    }

    fn keep_place(&self, backend: BackendId, place: Place) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(backend, place);
    }

    async fn empty(&self, backend: BackendId, removal: Removal, counts: &mut Counts) -> Result<(), String> {
        // What takes its time comes last.
        let queued = self.queued(backend, counts).await;
        let uploads = match removal.losses_upto {
            Some(_) => self.uploads(backend, counts).await,
            None => Ok(()),
        };
        queued.and(uploads).and(self.copies(backend, counts).await)
    }

    /// Their clients are told at their next call.
    async fn uploads(&self, backend: BackendId, counts: &mut Counts) -> Result<(), String> {
        while !self.shutdown.is_stopping() {
            let page = self.removals.uploads_on(backend, PAGE).await.map_err(|error| error.to_string())?;
            if page.is_empty() {
                break;
            }
            for upload in &page {
                count(counts, abort(&*self.ledger, self.owner, "removal", upload).await?);
            }
        }
        Ok(())
    }

    async fn queued(&self, backend: BackendId, counts: &mut Counts) -> Result<(), String> {
        while !self.shutdown.is_stopping() {
            let forgotten = self.removals.forget_queued(backend, PAGE).await;
            let forgotten = forgotten.map_err(|error| error.to_string())?;
            if forgotten == 0 {
                break;
            }
            *counts.entry("forgotten".to_owned()).or_default() += forgotten;
        }
        Ok(())
    }
}

fn count(counts: &mut Counts, what: &str) {
    *counts.entry(what.to_owned()).or_default() += 1;
}

#[async_trait]
impl Worker for Remover {
    async fn tick(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        let removals = self.removals.removals().await.map_err(|error| error.to_string())?;
        if removals.is_empty() {
            return Ok(counts);
        }
        let mut first_error = None;
        for (backend, removal) in removals {
            if let Err(why) = self.empty(backend, removal, &mut counts).await {
                first_error = first_error.or(Some(format!("backend {}: {why}", backend.0)));
            }
        }
        first_error.map_or(Ok(counts), Err)
    }
}
