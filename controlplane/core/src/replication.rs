//! How many copies a version has: what is missing, what is too much, and the queue of those to be looked at.
//!
//! Invariant: a copy counts only where it is verified, its backend takes writes, and has not been down for long;
//! nothing here takes a copy away, it only proposes: the rule that decides is `decide/change_copy.rs`.

use std::str::FromStr;

use s3o_types::{BackendId, BackendState, BucketId, Extent, VersionId};

use crate::object::{CopyRow, CopyState, ObjectRow, Piece};
use crate::removal::Removal;

/// What is to be done for a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CopyTask {
    /// Copies are missing.
    Add,
    /// There are too many.
    Trim,
    /// They are to be read: one of them may be wrong.
    Verify,
}

impl CopyTask {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Trim => "trim",
            Self::Verify => "verify",
        }
    }
}

impl FromStr for CopyTask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "add" => Ok(Self::Add),
            "trim" => Ok(Self::Trim),
            "verify" => Ok(Self::Verify),
            other => Err(format!("copy task `{other}` is none of add, trim, verify")),
        }
    }
}

/// A version to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationEntry {
    /// Which.
    pub version: VersionId,
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Why.
    pub task: CopyTask,
}

/// A copy on some backend that a worker is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyItem {
    /// Its version.
    pub entry: ReplicationEntry,
    /// The piece of it.
    pub extent: Extent,
    /// Bytes on the backend.
    pub size: u64,
}

impl CopyItem {
    /// Asks for the copies of its extent, which are the first of the answer's.
    pub fn query(&self) -> CopiesQuery {
        let after = self.extent.get().checked_sub(1).and_then(Extent::new);
        CopiesQuery { entry: self.entry.clone(), after }
    }
}

impl CopiesPage {
    /// An extent of the page, and its copy on a backend.
    pub fn copy_on(&self, extent: Extent, backend: BackendId) -> Option<(&ExtentCopies, &CopyRow)> {
        let extent = self.extents.iter().find(|found| found.extent == extent)?;
        let copy = extent.copies.iter().map(|(copy, _)| copy).find(|copy| copy.backend == backend)?;
        Some((extent, copy))
    }
}

/// A row that a worker has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationItem {
    /// The version.
    pub entry: ReplicationEntry,
    /// Failed attempts since it was queued.
    pub attempts: u32,
}

/// What came of a claimed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicationResult {
    /// Nothing is left to do, or the version is gone.
    Done,
    /// It waits for another worker now.
    HandedOver(CopyTask),
    /// Not done; the text says why. It is tried again later, for ever: what is missing stays missing.
    Failed(String),
}

/// The wait after the `attempts`th failure, in microseconds: 5 s × 2^(attempts − 1), at most 10 min.
pub fn backoff_us(attempts: u32) -> i64 {
    const FIRST: i64 = 5 * 1_000_000;
    const LONGEST: i64 = 10 * 60 * 1_000_000;
    (FIRST << attempts.saturating_sub(1).min(20)).min(LONGEST)
}

/// How far the draining of a backend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The backend.
    pub backend: BackendId,
    /// Its name.
    pub name: String,
    /// Asked for by an operator; otherwise the backend is in no file any more.
    pub asked: bool,
    /// Copies still there, counted by their first extent.
    pub objects: u64,
    /// Bytes of theirs.
    pub bytes: u64,
    /// Bytes that writes under way and open uploads hold there, and those that wait for their deletion.
    pub other_bytes: u64,
    /// Versions of it that lack copies elsewhere still, as far as they are found.
    pub waiting: u64,
    /// Nothing is left: the backend may go.
    pub done: bool,
    /// How the backend is given up; `None`: what is there is moved.
    pub removal: Option<Removal>,
}

/// Asks for the copies of a version, some extents at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiesQuery {
    /// The version.
    pub entry: ReplicationEntry,
    /// Only extents with a greater number.
    pub after: Option<Extent>,
}

/// The copies of some extents of a version that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct CopiesPage {
    /// The version.
    pub object: ObjectRow,
    /// Its bucket's name, part of every storage key.
    pub bucket_name: String,
    /// Copies wanted.
    pub replication_factor: u16,
    /// In ascending order.
    pub extents: Vec<ExtentCopies>,
    /// Whether there are more extents.
    pub more: bool,
}

/// The copies of one extent.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtentCopies {
    /// Which.
    pub extent: Extent,
    /// Its bytes in the object; `None`: all.
    pub piece: Option<Piece>,
    /// In any state, with the state of their backends.
    pub copies: Vec<(CopyRow, BackendState)>,
}

/// How backends look to whoever plans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Down for longer than the operator bears: what they hold does not count.
    pub unhealthy: Vec<BackendId>,
    /// Not known to answer at this moment: what they hold counts, but nothing is taken away relying on it.
    pub silent: Vec<BackendId>,
    /// Of which the month has no call or no byte to be read left: what they hold counts, and is read last.
    pub spent: Vec<BackendId>,
    /// All, the fullest first.
    pub fullest_first: Vec<BackendId>,
}

impl Standing {
    /// How many copies count besides this one, on backends that answer.
    pub fn others(&self, copies: &[(CopyRow, BackendState)], but: &CopyRow) -> u16 {
        let answers =
            |copy: &CopyRow| !self.unhealthy.contains(&copy.backend) && !self.silent.contains(&copy.backend);
        let relied_on: Vec<(CopyRow, BackendState)> =
            copies.iter().filter(|(copy, _)| answers(copy)).cloned().collect();
        others(&relied_on, but)
    }
}

/// What an extent needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Need {
    /// So many more copies.
    Copies(u16),
    /// This copy is one too many, or of no use any more.
    Without(Box<CopyRow>),
    /// It has too many, but not without those on backends that do not answer now.
    Later,
    /// Nothing.
    Nothing,
}

/// Looks at the copies of an extent.
pub fn need(copies: &[(CopyRow, BackendState)], factor: u16, standing: &Standing) -> Need {
    let counts = |copy: &CopyRow, state: BackendState| {
        is_counted(copy, state) && !standing.unhealthy.contains(&copy.backend)
    };
    let counted = copies.iter().filter(|(copy, state)| counts(copy, *state)).count();
    let counted = u16::try_from(counted).unwrap_or(u16::MAX);
    if counted < factor {
        return Need::Copies(factor - counted);
    }
    let is_lost = |copy: &CopyRow| standing.unhealthy.contains(&copy.backend);
    let there: Vec<(CopyRow, BackendState)> =
        copies.iter().filter(|(copy, _)| !is_lost(copy)).cloned().collect();
    // What a lost backend holds may be all that is left, should others be lost too, and so it waits until it is back; but not
    // where it is drained, since it may never come. An uncertain copy is no reason to keep more than is wanted: a drain
    // would never end.
    let may_go = |copy: &CopyRow, state: BackendState| !is_lost(copy) || state != BackendState::Active;
    let spare: Vec<&(CopyRow, BackendState)> = copies
        .iter()
        .filter(|(copy, state)| may_go(copy, *state) && others(&there, copy) >= factor)
        .collect();
    if spare.is_empty() {
        return Need::Nothing;
    }
    let can_go = |(copy, _): &&&(CopyRow, BackendState)| standing.others(copies, copy) >= factor;
    let victim = spare.iter().filter(can_go).min_by_key(|(copy, state)| rank(copy, *state, standing));
    victim.map_or(Need::Later, |(copy, _)| Need::Without(Box::new(copy.clone())))
}

/// Whether a copy counts as one of those that are wanted, by what the database knows.
pub fn is_counted(copy: &CopyRow, state: BackendState) -> bool {
    copy.state == CopyState::Verified && state == BackendState::Active
}

/// How many copies count besides this one.
pub fn others(copies: &[(CopyRow, BackendState)], but: &CopyRow) -> u16 {
    let rest = copies.iter().filter(|(copy, state)| copy.backend != but.backend && is_counted(copy, *state));
    u16::try_from(rest.count()).unwrap_or(u16::MAX)
}

/// What goes first: what is of no use, what is in doubt, what is being drained, what is on the fullest backend.
fn rank(copy: &CopyRow, state: BackendState, standing: &Standing) -> (bool, bool, bool, usize) {
    let place = standing.fullest_first.iter().position(|id| *id == copy.backend);
    (
        copy.state.readable(),
        copy.state == CopyState::Verified,
        state == BackendState::Active,
        place.unwrap_or(usize::MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3o_types::{BlobName, Checksums, Encoding};

    fn copy(backend: i32, state: CopyState) -> CopyRow {
        CopyRow {
            backend: BackendId(backend),
            blob: BlobName::first(VersionId::mint(1, 1)),
            bucket: BucketId(1),
            key: "k".into(),
            state,
            stored_size: 1,
            backend_etag: None,
            backend_version: None,
            encoding: Encoding::default(),
            foreign_key: None,
            piece: None,
            md5: None,
            digest: None,
            checksums: Checksums::default(),
        }
    }

    const ACTIVE: BackendState = BackendState::Active;
    const DRAINING: BackendState = BackendState::Draining;

    fn good(backends: &[i32]) -> Vec<(CopyRow, BackendState)> {
        backends.iter().map(|id| (copy(*id, CopyState::Verified), ACTIVE)).collect()
    }

    fn victim(need: Need) -> Option<i32> {
        match need {
            Need::Without(copy) => Some(copy.backend.0),
            Need::Copies(_) | Need::Nothing | Need::Later => None,
        }
    }

    #[test]
    fn only_verified_copies_on_healthy_active_backends_count() {
        let standing = Standing { unhealthy: vec![BackendId(3)], ..Standing::default() };
        assert_eq!(need(&good(&[1, 2]), 2, &standing), Need::Nothing);
        assert_eq!(need(&good(&[1, 3]), 2, &standing), Need::Copies(1));
        for state in [CopyState::Uncertain, CopyState::Quarantined, CopyState::Missing] {
            let copies = [copy(1, CopyState::Verified), copy(2, state)].map(|copy| (copy, ACTIVE));
            assert_eq!(need(&copies, 2, &standing), Need::Copies(1), "{state:?}");
        }
        let copies = [(copy(1, CopyState::Verified), ACTIVE), (copy(2, CopyState::Verified), DRAINING)];
        assert_eq!(need(&copies, 2, &standing), Need::Copies(1));
        assert_eq!(need(&[], 3, &standing), Need::Copies(3));
    }

    #[test]
    fn what_is_of_no_use_goes_first_then_doubtful_then_drained_then_fullest() {
        let standing =
            Standing { fullest_first: [2, 1, 3, 4, 5].map(BackendId).into(), ..Standing::default() };
        let mut copies = good(&[1, 2, 3, 4]);
        copies.push((copy(5, CopyState::Verified), DRAINING));
        copies.push((copy(7, CopyState::Uncertain), ACTIVE));
        copies.push((copy(6, CopyState::Missing), ACTIVE));
        let mut gone = Vec::new();
        while let Some(id) = victim(need(&copies, 2, &standing)) {
            gone.push(id);
            copies.retain(|(copy, _)| copy.backend.0 != id);
        }
        assert_eq!(gone, [6, 7, 5, 2, 1]);
        assert_eq!(need(&copies, 2, &standing), Need::Nothing);
    }

    /// The only copy that answers is not taken away because another one may be there.
    #[test]
    fn nothing_goes_relying_on_a_backend_that_does_not_answer() {
        let silent = |ids: &[i32]| Standing {
            silent: ids.iter().map(|id| BackendId(*id)).collect(),
            fullest_first: vec![BackendId(1), BackendId(2)],
            ..Standing::default()
        };
        assert_eq!(victim(need(&good(&[1, 2]), 1, &silent(&[]))), Some(1));
        assert_eq!(victim(need(&good(&[1, 2]), 1, &silent(&[2]))), Some(2), "the silent one itself may go");
        assert_eq!(need(&good(&[1, 2]), 1, &silent(&[1, 2])), Need::Later);
        assert_eq!(need(&good(&[1, 2, 3]), 2, &silent(&[2, 3])), Need::Later);
        assert_eq!(victim(need(&good(&[1, 2, 3]), 2, &silent(&[3]))), Some(3));
        assert_eq!(need(&good(&[1, 2]), 2, &silent(&[2])), Need::Nothing);
    }

    /// Imported, or attached by reconcile: nobody has read it yet.
    #[test]
    fn an_uncertain_copy_goes_when_enough_good_ones_answer() {
        let standing = Standing::default();
        let with = |state: BackendState, others: &[i32]| {
            let mut copies = good(others);
            copies.push((copy(9, CopyState::Uncertain), state));
            copies
        };
        for state in [ACTIVE, DRAINING] {
            assert_eq!(need(&with(state, &[]), 1, &standing), Need::Copies(1), "{state:?}: the only one");
            assert_eq!(need(&with(state, &[1]), 2, &standing), Need::Copies(1), "{state:?}: it counts not");
            assert_eq!(victim(need(&with(state, &[1, 2]), 2, &standing)), Some(9), "{state:?}: one too many");
            let silent = Standing { silent: vec![BackendId(2)], ..Standing::default() };
            assert_eq!(need(&with(state, &[1, 2]), 2, &silent), Need::Later, "{state:?}: silent");
            let broken = Standing { unhealthy: vec![BackendId(2)], ..Standing::default() };
            assert_eq!(need(&with(state, &[1, 2]), 2, &broken), Need::Copies(1), "{state:?}: lost");
        }
        let two = [(copy(1, CopyState::Uncertain), DRAINING), (copy(2, CopyState::Uncertain), ACTIVE)];
        assert_eq!(need(&two, 1, &standing), Need::Copies(1), "neither stands in for the other");
    }

    #[test]
    fn the_last_ones_stay() {
        let standing = Standing::default();
        for state in [CopyState::Missing, CopyState::Quarantined] {
            assert_eq!(need(&[(copy(1, state), ACTIVE)], 1, &standing), Need::Copies(1));
        }
        let draining = [(copy(1, CopyState::Verified), DRAINING)];
        assert_eq!(need(&draining, 1, &standing), Need::Copies(1));
    }

    #[test]
    fn what_a_lost_backend_holds_stays_until_it_is_back() {
        let lost =
            Standing { unhealthy: vec![BackendId(1)], silent: vec![BackendId(1)], ..Standing::default() };
        assert_eq!(need(&good(&[1]), 1, &lost), Need::Copies(1));
        assert_eq!(need(&good(&[1, 2]), 1, &lost), Need::Nothing, "it was replaced");
        assert_eq!(victim(need(&good(&[1, 2, 3]), 1, &lost)), Some(2), "one of those that are there");
        let back = Standing { fullest_first: vec![BackendId(1), BackendId(2)], ..Standing::default() };
        assert_eq!(victim(need(&good(&[1, 2]), 1, &back)), Some(1));
        // Emptied while it is away: it may never come back.
        let mut drained = good(&[2]);
        drained.push((copy(1, CopyState::Verified), DRAINING));
        assert_eq!(victim(need(&drained, 1, &lost)), Some(1));
    }

    #[test]
    fn backoff_doubles_from_five_seconds_to_ten_minutes() {
        let seconds: Vec<i64> = (1..=9).map(|n| backoff_us(n) / 1_000_000).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(backoff_us(u32::MAX), 600_000_000);
    }
}
