//! The faults: each is drawn from the seed, injected, and healed.
//!
//! To add one: a line in [`Kind::ALL`] with its name, an arm in [`Kind::draw`], [`Fault::scope`], [`Fault::inject`]
//! and, if it lasts, [`Fault::heal`].
//!
//! Invariant: healing is idempotent and undoes what injecting did, or what it had done when it failed half-way.

mod answers;
mod damage;
mod declared;
mod network;
mod processes;

use anyhow::Result;
use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::buckets::BUCKETS;
use super::field::Field;
use super::plan::{BACKENDS, CONTROL_PLANES, DATA_PLANES};

pub use network::Way;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL of a data plane, started again later.
    KillData,
    /// SIGKILL of a control plane, started again later.
    KillControl,
    /// PostgreSQL ends as in a crash, and is started again later.
    KillDatabase,
    /// A backend resets all connections and closes its port; its blobs stay.
    KillBackend,
    /// SIGSTOP of a data plane: it goes on later, with whatever it believes by then.
    PauseData,
    /// SIGSTOP of a control plane.
    PauseControl,
    /// All connections of one way are cut, once.
    Cut,
    /// Requests go through, replies come late, or never where the connection is cut meanwhile.
    HoldReplies,
    /// Nothing goes through; what was sent arrives late.
    Blackhole,
    /// A backend answers slowly.
    Slow,
    /// A backend answers 500 or 503.
    Errors,
    /// A backend does the work and closes the connection in place of an answer.
    LostReplies,
    /// A backend closes the connection and stores the blob later.
    LatePuts,
    /// Bodies break off, on their way to a backend and from it.
    BrokenBodies,
    /// A backend answers 403 to everything, as when keys have expired.
    Credentials,
    /// A backend's quota is lowered to less than is stored there.
    Quota,
    /// A backend is drained, and taken back.
    Drain,
    /// A bucket wants another number of copies.
    Factor,
    /// All leases run out at once, as if every process had been silent.
    Leases,
    /// A bit flips in one blob that has a good copy elsewhere.
    Corrupt,
    /// A blob that has a good copy elsewhere is gone.
    Drop,
}

/// One of them, with everything that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// On which one of its kind: a process, a backend, a way, a bucket.
    pub target: usize,
    /// How much, where that has a meaning: the new factor, a delay in milliseconds, which blob.
    pub amount: u64,
}

/// What a fault is about: two faults on the same at once could not be healed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A data plane's process.
    Data(usize),
    /// A control plane's process.
    Control(usize),
    /// PostgreSQL.
    Database,
    /// A backend and the way to it.
    Backend(usize),
    /// The way between two planes.
    Link(usize),
    /// A backend's quota.
    Quota(usize),
    /// Drains: one at a time, so that what must be stored has room.
    Drains,
    /// A bucket's factor.
    Factor(usize),
    /// It is over at once.
    Moment(Kind),
}

impl Kind {
    /// All.
    pub const ALL: [Self; 21] = [
        Self::KillData,
        Self::KillControl,
        Self::KillDatabase,
        Self::KillBackend,
        Self::PauseData,
        Self::PauseControl,
        Self::Cut,
        Self::HoldReplies,
        Self::Blackhole,
        Self::Slow,
        Self::Errors,
        Self::LostReplies,
        Self::LatePuts,
        Self::BrokenBodies,
        Self::Credentials,
        Self::Quota,
        Self::Drain,
        Self::Factor,
        Self::Leases,
        Self::Corrupt,
        Self::Drop,
    ];

    /// As the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillData => "kill-data",
            Self::KillControl => "kill-control",
            Self::KillDatabase => "kill-database",
            Self::KillBackend => "kill-backend",
            Self::PauseData => "pause-data",
            Self::PauseControl => "pause-control",
            Self::Cut => "cut",
            Self::HoldReplies => "hold-replies",
            Self::Blackhole => "blackhole",
            Self::Slow => "slow",
            Self::Errors => "errors",
            Self::LostReplies => "lost-replies",
            Self::LatePuts => "late-puts",
            Self::BrokenBodies => "broken-bodies",
            Self::Credentials => "credentials",
            Self::Quota => "quota",
            Self::Drain => "drain",
            Self::Factor => "factor",
            Self::Leases => "leases",
            Self::Corrupt => "corrupt",
            Self::Drop => "drop",
        }
    }

    /// Draws one.
    pub fn draw(self, random: &mut StdRng) -> Fault {
        let mut below = |n: usize| random.random_range(0..n);
        let (target, amount) = match self {
            Self::KillData | Self::PauseData => (below(DATA_PLANES), 0),
            Self::KillControl | Self::PauseControl => (below(CONTROL_PLANES), 0),
            Self::KillDatabase | Self::Leases => (0, 0),
            Self::Cut | Self::HoldReplies | Self::Blackhole => (below(Way::COUNT), 0),
            Self::KillBackend | Self::LostReplies | Self::BrokenBodies | Self::Credentials => {
                (below(BACKENDS), 0)
            }
            Self::Quota | Self::Drain => (below(BACKENDS), 0),
            Self::Errors => (below(BACKENDS), [500, 503][below(2)]),
            Self::Slow | Self::LatePuts => (below(BACKENDS), 100 + below(1_500) as u64),
            Self::Corrupt | Self::Drop => (below(BACKENDS), below(usize::MAX) as u64),
            Self::Factor => {
                let changing: Vec<usize> =
                    (0..BUCKETS.len()).filter(|n| BUCKETS[*n].factor_changes).collect();
                (changing[below(changing.len())], 1 + below(BACKENDS) as u64)
            }
        };
        Fault { kind: self, target, amount }
    }
}

impl Fault {
    /// What it is about.
    pub fn scope(&self) -> Scope {
        match self.kind {
            Kind::KillData | Kind::PauseData => Scope::Data(self.target),
            Kind::KillControl | Kind::PauseControl => Scope::Control(self.target),
            Kind::KillDatabase => Scope::Database,
            Kind::HoldReplies | Kind::Blackhole => Way::of(self.target).scope(),
            Kind::KillBackend
            | Kind::Slow
            | Kind::Errors
            | Kind::LostReplies
            | Kind::LatePuts
            | Kind::BrokenBodies
            | Kind::Credentials => Scope::Backend(self.target),
            Kind::Quota => Scope::Quota(self.target),
            Kind::Drain => Scope::Drains,
            Kind::Factor => Scope::Factor(self.target),
            Kind::Cut | Kind::Leases | Kind::Corrupt | Kind::Drop => Scope::Moment(self.kind),
        }
    }

    /// Lets it strike. An error says why it could not: nothing to damage, no control plane to ask.
    pub async fn inject(&self, field: &mut Field) -> Result<()> {
        match self.kind {
            Kind::KillData => field.cluster.data[self.target].process.kill(),
            Kind::KillControl => field.cluster.control[self.target].process.kill(),
            Kind::PauseData => field.cluster.data[self.target].process.signal(Signal::SIGSTOP),
            Kind::PauseControl => field.cluster.control[self.target].process.signal(Signal::SIGSTOP),
            Kind::KillDatabase => field.cluster.database.kill().await,
            Kind::KillBackend => {
                field.cluster.backends[self.target].server.kill().await;
                Ok(())
            }
            Kind::Cut | Kind::HoldReplies | Kind::Blackhole => {
                network::inject(self, &field.cluster);
                Ok(())
            }
            Kind::Slow
            | Kind::Errors
            | Kind::LostReplies
            | Kind::LatePuts
            | Kind::BrokenBodies
            | Kind::Credentials => {
                answers::inject(self, &field.cluster.backends[self.target]);
                Ok(())
            }
            Kind::Quota => declared::quota(field, self.target, Some(1)).await,
            Kind::Factor => declared::factor(field, self.target, Some(usize::try_from(self.amount)?)).await,
            Kind::Drain => declared::drain(field, self.target).await,
            Kind::Leases => crate::settle::expire_leases(&field.cluster).await,
            Kind::Corrupt | Kind::Drop => damage::inject(self, field).await,
        }
    }

    /// Ends it.
    pub async fn heal(&self, field: &mut Field) -> Result<()> {
        match self.kind {
            Kind::KillData => processes::start(&mut field.cluster.data[self.target].process),
            Kind::KillControl => processes::start(&mut field.cluster.control[self.target].process),
            Kind::PauseData => field.cluster.data[self.target].process.signal(Signal::SIGCONT),
            Kind::PauseControl => field.cluster.control[self.target].process.signal(Signal::SIGCONT),
            Kind::KillDatabase => field.cluster.database.restart().await,
            Kind::KillBackend => Ok(field.cluster.backends[self.target].server.restart().await?),
            Kind::HoldReplies | Kind::Blackhole => {
                network::heal(self, &field.cluster);
                Ok(())
            }
            Kind::Slow
            | Kind::Errors
            | Kind::LostReplies
            | Kind::LatePuts
            | Kind::BrokenBodies
            | Kind::Credentials => {
                field.cluster.backends[self.target].server.heal();
                Ok(())
            }
            Kind::Quota => declared::quota(field, self.target, None).await,
            Kind::Factor => declared::factor(field, self.target, None).await,
            Kind::Drain => declared::undrain(field, self.target).await,
            Kind::Cut | Kind::Leases | Kind::Corrupt | Kind::Drop => Ok(()),
        }
    }
}

/// Takes a drain back, whichever fault began it.
pub async fn undrain(field: &Field, backend: usize) -> Result<()> {
    declared::undrain(field, backend).await
}
