//! Runs over one backend: what is asked for, how far it is, what it found.
//!
//! Invariants: a backend has one run at a time; a run that would mark more copies than [`LossLimit`] allows stops.

use std::str::FromStr;

use s3o_types::{BackendId, BucketId};

/// What a run does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunKind {
    /// Compares the whole backend with the tables.
    Reconcile,
    /// Makes objects of foreign keys.
    Import {
        /// In this bucket.
        bucket: BucketId,
        /// Of keys on the backend that begin so.
        prefix: String,
    },
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunPhase {
    /// Everything but hashed storage keys.
    #[default]
    Plain,
    /// Hashed storage keys, whose rows were gathered meanwhile.
    Hashed,
}

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It waits for a worker, or one is at it.
    Running,
    /// It came to its end.
    Done,
    /// It stopped; its error says why.
    Failed,
}

macro_rules! words {
    ($type:ident, $what:literal, $($variant:ident => $word:literal),+) => {
        impl $type {
            /// The word in the database and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!(concat!($what, " `{}` is not known"), other)),
                }
            }
        }
    };
}

words!(RunPhase, "phase", Plain => "plain", Hashed => "hashed");
words!(RunState, "state of a run", Running => "running", Done => "done", Failed => "failed");

/// Asks for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskRun {
    /// Over which backend.
    pub backend: BackendId,
    /// To do what.
    pub kind: RunKind,
    /// Counts only, and changes nothing.
    pub dry_run: bool,
    /// The operator knows that much was lost: [`LossLimit`] does not hold.
    pub accept_losses: bool,
}

macro_rules! tally {
    ($($(#[$doc:meta])* $field:ident),+ $(,)?) => {
        /// What a run has counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct RunTally {
            $($(#[$doc])* pub $field: u64),+
        }

        impl RunTally {
            /// By name, as the database and the wire have them.
            pub const fn fields(&self) -> [(&'static str, u64); [$(stringify!($field)),+].len()] {
                [$((stringify!($field), self.$field)),+]
            }

            /// Sets one by its name; one of another release is left out.
            pub fn set(&mut self, name: &str, value: u64) {
                match name {
                    $(stringify!($field) => self.$field = value,)+
                    _ => {}
                }
            }
        }
    };
}

tally! {
    /// Storage keys that were listed.
    listed,
    /// Rows that were compared.
    rows,
    /// Copies that were marked as missing, or as another than they should be.
    marked,
    /// Copies that are gone and that no other one replaces: their rows stay.
    lost,
    /// Blobs that became copies of live versions, and copies that came back.
    attached,
    /// Blobs that were queued for deletion.
    orphaned,
    /// Foreign keys that became objects.
    imported,
    /// Foreign keys that an import left alone: the object's key is taken, or they were imported before.
    skipped,
    /// Blobs of ours that were left alone: too young, or not to be read by this release.
    left_alone,
    /// Copies and blobs of which the second look was not certain.
    ambiguous,
    /// Foreign keys, and those of buckets that are not known.
    unmanaged,
    /// Their bytes.
    unmanaged_bytes,
    /// Bytes of ours that were listed.
    own_bytes,
    /// Bytes by which the backend and what is counted of it differ, each key looked at twice: of blobs that nothing names, and
    /// of rows whose blobs are gone or have another size.
    drift_bytes,
    /// Bytes of which that is not known: too young, no certain answer, or changed meanwhile.
    unknown_bytes,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which number: a backend's next run has another.
    pub id: i64,
    /// What was asked for.
    pub ask: AskRun,
    /// The backend's name.
    pub backend_name: String,
    /// Whether it goes on.
    pub state: RunState,
    /// Where it is.
    pub phase: RunPhase,
    /// The last storage key that was dealt with.
    pub cursor: String,
    /// Copies that the tables had on the backend when it began; 0 until then.
    pub expected: u64,
    /// What it counted.
    pub tally: RunTally,
    /// Why it stopped.
    pub error: Option<String>,
}

/// How many copies a run may mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossLimit {
    /// Copies on the backend.
    pub expected: u64,
    /// The limit does not hold.
    pub lifted: bool,
}

impl LossLimit {
    /// So many may always be marked: 1 % of a few copies is none.
    pub const FEW: u64 = 10;

    /// Whether one more may be marked, or found lost, when so many were.
    pub const fn allows_another(self, found: u64) -> bool {
        let percent = self.expected / 100;
        let limit = if percent > Self::FEW { percent } else { Self::FEW };
        self.lifted || found < limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_percent_and_never_fewer_than_a_few() {
        let limit = |expected, lifted| LossLimit { expected, lifted };
        assert!(limit(0, false).allows_another(9) && !limit(0, false).allows_another(10));
        assert!(limit(5000, false).allows_another(49) && !limit(5000, false).allows_another(50));
        assert!(limit(5000, true).allows_another(5000));
    }

    #[test]
    fn a_tally_is_read_back_by_its_names() {
        let tally = RunTally { marked: 3, own_bytes: 7, ..RunTally::default() };
        let mut again = RunTally::default();
        tally.fields().iter().for_each(|(name, value)| again.set(name, *value));
        again.set("of another release", 1);
        assert_eq!(again, tally);
    }

    #[test]
    fn words_are_read_back() {
        for state in [RunState::Running, RunState::Done, RunState::Failed] {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for phase in [RunPhase::Plain, RunPhase::Hashed] {
            assert_eq!(phase.as_str().parse(), Ok(phase));
        }
        assert!("x".parse::<RunState>().is_err());
    }
}
