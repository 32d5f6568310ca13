//! The fault campaign: clients do everything to a few keys through several data planes while a nemesis kills, cuts,
//! delays, fills, drains and damages; then everything is healed, settles, and is checked; and in the end the database is
//! made again from the backends, and compared.
//!
//! `s3o-campaign --minutes 5 --seed 1` runs it ([`plan`] has its shape, [`faults`] what goes wrong, [`checks`] what must
//! hold). What is drawn comes from the seed; what the machine makes of it does not, so a seed that found something
//! finds it again often, not always: the history is kept.
//!
//! Invariant: whatever a client was told is in the history before anything judges it, and the checks read tables and
//! backends past all of our code.

pub mod board;
pub mod buckets;
pub mod checks;
mod clients;
pub mod content;
pub mod faults;
pub mod field;
mod nemesis;
pub mod own;
pub mod plan;
mod recover;
mod report;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Options};
use board::Board;
use buckets::Declared;
use checks::Violation;
use field::Field;
use nemesis::Strikes;
use plan::Plan;

pub use report::Report;

/// Patience of a client with one call. Longer than the data planes' own with backends and control planes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long clients go on after the last fault is healed.
const CALM: Duration = Duration::from_secs(3);

/// A running campaign.
#[derive(Debug)]
pub struct Campaign {
    plan: Plan,
    field: Field,
    strikes: Strikes,
    notes: Vec<String>,
}

impl Campaign {
    /// Starts the system.
    pub async fn start(plan: Plan) -> Result<Self> {
        let options = Options {
            backends: plan::BACKENDS,
            routing: "spread",
            quota_bytes: Some(buckets::QUOTA),
            control_planes: plan::CONTROL_PLANES,
            data_planes: plan::DATA_PLANES,
            sections: buckets::sections(),
            ..Options::default()
        };
        let cluster = Cluster::start(options).await?;
        let board = Arc::new(Board::default());
        let field = Field { cluster, declared: Declared::default(), board, ended: BTreeSet::new() };
        Ok(Self { plan, field, strikes: Strikes::default(), notes: Vec::new() })
    }

    /// What it works on.
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// Clients and faults, until the plan's time is over; then heals and settles.
    pub async fn run(&mut self) -> Result<Vec<Violation>> {
        let mut clients = JoinSet::new();
        for n in 0..plan::CLIENTS {
            let planes =
                (0..plan::DATA_PLANES).map(|data| self.field.cluster.impatient(data, PATIENCE)).collect();
            let random = plan::random(self.plan.seed, 1 + n as u64);
            let board = Arc::clone(&self.field.board);
            clients.spawn(clients::Worker::new(&format!("c{n}"), random, planes, board).run());
        }
        let end = tokio::time::Instant::now() + self.plan.length;
        self.strikes = nemesis::run(&mut self.field, &self.plan.schedule()).await?;
        tokio::time::sleep_until(end).await;
        eprintln!("{:>6} s: healing", self.field.board.seconds());
        recover::heal(&mut self.field).await.context("healing")?;
        tokio::time::sleep(CALM).await;
        self.field.board.stop();
        clients.join_all().await;
        self.settle().await
    }

    /// Lets everything come to rest, then looks at every key once more.
    async fn settle(&mut self) -> Result<Vec<Violation>> {
        let aborted = recover::abort_uploads(&self.field).await.context("aborting uploads")?;
        self.notes.push(format!("multipart uploads left open by clients: {aborted}"));
        eprintln!("{:>6} s: settling", self.field.board.seconds());
        let mut found = Vec::new();
        if let Err(error) = recover::settled(&self.field).await {
            found.push(Violation { check: "settling", what: format!("{error:#}"), key: None });
        }
        let damage = self.field.board.damage().len();
        if damage > 0 {
            let before = checks::unrepaired(&self.field).await?.len();
            self.notes.push(format!("blobs damaged: {damage}; found only by the scrubber's round: {before}"));
            if let Err(error) = recover::scrubbed(&self.field).await {
                found.push(Violation { check: "scrubbing", what: format!("{error:#}"), key: None });
            }
            for (backend, key) in checks::unrepaired(&self.field).await? {
                let what = format!("{key} on {backend} was damaged, and nothing has found it");
                found.push(Violation { check: "damage", what, key: None });
            }
        }
        eprintln!("{:>6} s: checking", self.field.board.seconds());
        found.extend(checks::read_everything(&self.field).await?);
        // Not for the checks, which cope with a worker that runs: one that cannot ship is told here.
        if let Err(error) = recover::shipped(&self.field).await {
            found.push(Violation { check: "journal", what: format!("{error:#}"), key: None });
        }
        self.field.supervise()?;
        Ok(found)
    }

    /// Has the journal shipped to its end, and ends its work: [`checks::rebuild()`] reads files that stay.
    pub async fn close_journal(&self) -> Result<()> {
        recover::shipped(&self.field).await?;
        recover::closed(&self.field).await
    }

    /// Everything that must hold now, but for usage counters and a rebuild.
    pub async fn check(&self) -> Result<Vec<Violation>> {
        checks::all(&self.field).await
    }

    /// Makes the last checks, tells how it was, and ends the system.
    pub async fn finish(mut self, mut found: Vec<Violation>) -> Result<Report> {
        found.extend(checks::usage(&self.field).await?);
        // Last of all: it reads the backends past the control planes, which count nothing of it.
        eprintln!("{:>6} s: rebuilding", self.field.board.seconds());
        match self.rebuild().await {
            Ok(differences) => found.extend(differences),
            Err(error) => found.push(Violation::new("rebuild", format!("{error:#}"))),
        }
        let report = report::report(&self.plan, &self.field, &self.strikes, &self.notes, found)?;
        self.end();
        Ok(report)
    }

    /// Ships what the usage check has written, and makes the database again.
    async fn rebuild(&mut self) -> Result<Vec<Violation>> {
        self.close_journal().await?;
        let rebuilt = checks::rebuild(&self.field).await?;
        let (versions, copies) = (rebuilt.versions, rebuilt.copies);
        self.notes.push(format!("rebuilt: {versions} versions and markers compared, {copies} copies"));
        Ok(rebuilt.violations)
    }

    /// Ends the system, whatever state it is in.
    pub fn end(self) {
        self.field.cluster.pass();
    }
}

/// A whole campaign.
pub async fn run(plan: Plan) -> Result<Report> {
    let mut campaign = Campaign::start(plan).await?;
    let mut found = campaign.run().await?;
    found.extend(campaign.check().await?);
    campaign.finish(found).await
}
