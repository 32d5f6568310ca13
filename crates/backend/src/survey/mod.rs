//! What a backend can do and what it needs, found out by asking it: one setting or habit of S3 after the other.
//!
//! Invariants: everything is made under one prefix of our own and taken away whatever comes out, and what could not be
//! is named; a request ends after [`asker::PATIENCE`], and after some that nobody answered no more are sent; nothing is
//! told to the breaker, since requests are wrong on purpose. Only what this code depends on is asked.

mod asker;
mod copies;
mod deletes;
mod fetch;
mod finding;
mod headers;
mod keys;
mod proof;
mod reach;
mod reads;

use s3o_types::{EtagProof, ProbeFinding};

use crate::set::Backend;
use asker::Asker;

/// What was found out of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// In the order in which it was asked.
    pub findings: Vec<ProbeFinding>,
    /// What its answers to a PUT prove; `None` where that could not be seen.
    pub proof: Option<EtagProof>,
    /// Requests that were sent.
    pub requests: u64,
    /// Storage keys that may be there still, since they could not be deleted.
    pub left: Vec<String>,
}

/// Asks a backend. `tag` is part of every key that is made, and must be new. Once `stopping` says so, nothing more is
/// asked, and what was made is taken away.
pub async fn survey(backend: &Backend, tag: &str, stopping: &(dyn Fn() -> bool + Send + Sync)) -> Survey {
    let mut asker = Asker::new(backend, tag, stopping);
    let (mut findings, is_reached) = reach::find(&mut asker).await;
    let mut proof = None;
    if is_reached {
        let (found, etag) = proof::find(&mut asker).await;
        proof = found;
        findings.push(etag);
        findings.extend(headers::find(&mut asker).await);
        findings.extend(reads::find(&mut asker).await);
        findings.push(copies::find(&mut asker).await);
        findings.extend(keys::find(&mut asker).await);
        findings.extend(deletes::find(&mut asker).await);
    }
    let left = asker.clear().await;
    Survey { findings, proof, requests: asker.requests(), left }
}
