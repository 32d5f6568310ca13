//! Clients that do everything to a few keys at once, each through whichever data plane its dice say. What the history
//! has no calls for (single versions, tags) they do to keys of their own.
//!
//! Invariant: what a client does is drawn from the seed; every value is written once; a call is in the history before
//! it is sent, and an answer that does not say what happened counts as unknown.

mod multipart;
mod own;
mod part_copies;
mod ranges;
mod reads;
mod tags;
mod versions;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use rand::RngExt as _;
use rand::rngs::StdRng;
use s3o_testkit::history::{Condition, Outcome};

use super::board::Board;
use super::buckets::{BUCKETS, Bucket};
use super::content::Piece;
use crate::s3::Failure;

/// Keys of each bucket and epoch.
const KEYS: [&str; 4] = ["a", "b", "c", "d"];
/// Sizes of bodies, in bytes.
const SIZES: [usize; 6] = [40, 1_000, 5_000, 60_000, 300_000, 1_300_000];
/// After a failure, in milliseconds: while a service is down, each call adds an unknown to the history.
const PAUSE_MS: u64 = 400;
/// Between two calls, in milliseconds: the machine is to be busy with more than clients.
const THINK_MS: u64 = 40;

/// One client.
#[derive(Debug)]
pub(super) struct Worker {
    name: String,
    random: StdRng,
    planes: Vec<Client>,
    board: Arc<Board>,
    /// Bodies made so far, and other things that are to be like no other.
    made: u64,
    /// The own key whose versions it writes now, and their ids, without those that were to be deleted.
    versions: Option<(Target, Vec<String>)>,
    /// The own object whose tags it changes now, and since which epoch.
    tagged: Option<(u64, Target)>,
}

/// A key of a bucket, and its name in the history.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) bucket: &'static Bucket,
    pub(super) key: String,
}

impl Target {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.bucket.name, self.key)
    }
}

impl Worker {
    /// One that calls these data planes.
    pub(super) fn new(name: &str, random: StdRng, planes: Vec<Client>, board: Arc<Board>) -> Self {
        let name = name.to_owned();
        Self { name, random, planes, board, made: 0, versions: None, tagged: None }
    }

    /// Works until the board says stop.
    pub(super) async fn run(mut self) {
        while !self.board.is_stopped() {
            let worked = self.step().await;
            let longest = if worked { THINK_MS } else { PAUSE_MS };
            let pause = self.random.random_range(0..longest);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One operation; says whether it got an answer that means something.
    async fn step(&mut self) -> bool {
        let target = self.draw_target();
        match self.random.random_range(0..112) {
            0..22 => self.put(&target, Condition::None).await,
            22..28 => self.put(&target, Condition::Absent).await,
            28..34 => self.put_if_match(&target).await,
            34..42 => self.delete(&target).await,
            42..45 => self.delete_many(&target).await,
            45..52 => self.copy(&target).await,
            52..60 => self.multipart(&target).await,
            60..78 => self.get(&target).await,
            78..86 => self.get_range(&target).await,
            86..97 => self.head(&target).await,
            97..104 => self.list(target.bucket).await,
            104..109 => self.own_versions().await,
            _ => self.tags().await,
        }
    }

    fn draw_target(&mut self) -> Target {
        let bucket = &BUCKETS[self.random.random_range(0..BUCKETS.len())];
        let key = KEYS[self.random.random_range(0..KEYS.len())];
        Target { bucket, key: format!("hot/{}/{key}", self.board.epoch()) }
    }

    /// Any data plane.
    fn plane(&mut self) -> Client {
        let n = self.random.random_range(0..self.planes.len());
        self.planes[n].clone()
    }

    /// A body that nobody else writes.
    fn piece(&mut self, size: usize) -> Piece {
        self.made += 1;
        Piece::new(format!("{} {}", self.name, self.made), size)
    }

    fn draw_size(&mut self) -> usize {
        SIZES[self.random.random_range(0..SIZES.len())]
    }

    /// Counts a call; says whether the answer means something.
    fn count(&self, operation: &'static str, target: &str, done: &Result<(), Failure>) -> bool {
        let result = match done {
            Ok(()) => "done".to_owned(),
            Err(Failure::Answer { status, code }) => format!("{status} {code}").trim_end().to_owned(),
            Err(Failure::Silence(_)) => "no answer".to_owned(),
        };
        if let Err(Failure::Answer { status: status @ 400..500, code }) = done
            && !is_expected(operation, *status, code)
        {
            let when = Duration::from_nanos(self.board.recorder.now());
            let what = format!("{operation} of {target} by {}, after {when:?}", self.name);
            self.board.refused(format!("{operation}: {status} {code}"), what);
        }
        self.board.count(operation, result);
        !matches!(done, Err(failure) if failure.is_unknown())
    }
}

/// Answers that a correct client has to expect here.
fn is_expected(operation: &str, status: u16, code: &str) -> bool {
    match status {
        404 => {
            let on_hot_keys =
                ["get", "get range", "get far range", "head", "copy", "put", "complete", "abort", "part"];
            // The source of a part is there: it was acknowledged, and this client alone deletes it.
            (on_hot_keys.contains(&operation) && code != "NoSuchBucket")
                || (operation == "part copy" && code == "NoSuchUpload")
        }
        412 => operation == "put",
        416 => operation == "get far range",
        _ => false,
    }
}

/// The outcome of a write or delete.
fn written(done: &Result<(), Failure>, condition: &Condition) -> Outcome {
    match done {
        Ok(()) => Outcome::Done,
        Err(Failure::Answer { status: 412, .. }) => Outcome::ConditionFailed,
        // If-Match on a key that does not exist.
        Err(Failure::Answer { status: 404, .. }) if matches!(condition, Condition::Is(_)) => {
            Outcome::ConditionFailed
        }
        Err(failure) if failure.is_unknown() => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    }
}
