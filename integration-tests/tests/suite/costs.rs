//! What a request costs, counted in instructions and allocations: numbers that do not depend on how busy the
//! machine is.
//!
//! The bounds are about a quarter above what was measured with the profile that tests use (docs/performance.md),
//! so that they fail when a request begins to do something that it did not do before.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::Client;
use s3o_integration_tests::cluster::{Cluster, Options, Profiled};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body};
use tokio::process::Command;

/// Requests before the counting: connections, pools and caches are there afterwards.
const WARM: usize = 30;
const COUNTED: usize = 60;
const SIZE: usize = 4096;

/// A phase is counted so often before it is too dear: what runs by the clock, configuration polls and workers, is counted
/// with it, and the slower the machine the more.
const TRIES: usize = 3;

/// What was counted, or may be.
#[derive(Debug, Clone, Copy)]
struct Cost {
    instructions: u64,
    allocations: u64,
}

/// For each request, at most: thousands of instructions, and allocations.
struct Bounds {
    put: (u64, u64),
    get: (u64, u64),
    head: (u64, u64),
    list: (u64, u64),
}

/// Reads a dump of callgrind (its manual, "Callgrind Format Specification").
fn parse(text: &str) -> Option<Cost> {
    let mut allocators = HashSet::new();
    let (mut is_allocator, mut instructions, mut allocations) = (false, None, 0);
    for line in text.lines() {
        if let Some(callee) = line.strip_prefix("cfn=(").or_else(|| line.strip_prefix("fn=(")) {
            // A name stands beside its number where it comes first.
            let (id, name) = callee.split_once(')')?;
            if name.contains("__rust_alloc") || name.contains("__rust_realloc") {
                allocators.insert(id.to_owned());
            }
            is_allocator = line.starts_with('c') && allocators.contains(id);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count: u64 = calls.split(' ').next()?.parse().ok()?;
            allocations += if is_allocator { count } else { 0 };
        } else if let Some(total) = line.strip_prefix("totals: ") {
            instructions = total.trim().parse().ok();
        }
    }
    Some(Cost { instructions: instructions?, allocations })
}

/// Reads what callgrind counted since it was asked last.
struct Counter {
    pid: u32,
    out: PathBuf,
    dumps: u32,
}

impl Counter {
    async fn since_last(&mut self) -> Result<Cost> {
        let asked = Command::new("callgrind_control").args(["--dump", &self.pid.to_string()]).output().await;
        let asked = asked.context("callgrind_control, of the package valgrind, cannot be started")?;
        ensure!(asked.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&asked.stderr));
        self.dumps += 1;
        let path = format!("{}.{}", self.out.display(), self.dumps);
        let read = || async { anyhow::Ok(parse(&tokio::fs::read_to_string(&path).await?)) };
        s3o_integration_tests::wait::until("a dump of callgrind", || async { Ok(read().await?.is_some()) })
            .await?;
        read().await?.with_context(|| format!("{path} has no totals"))
    }
}

/// Thousands of instructions, and allocations, for each of many requests of a kind.
async fn phase(client: &Client, counter: &mut Counter, what: &str, number: usize) -> Result<(u64, u64)> {
    for n in 0..WARM + COUNTED {
        if n == WARM {
            counter.since_last().await?;
        }
        // A PUT makes a key that is not there; the first phase's are read.
        let key = |number: usize| format!("folder/{number}/{n:04}");
        match what {
            "PUT" => {
                let key = key(number);
                s3::put(client, BUCKET, &key, body(&key, SIZE)).await.expect("PUT");
            }
            "GET" => {
                let got = client.get_object().bucket(BUCKET).key(key(0)).send().await?;
                ensure!(got.body.collect().await?.into_bytes().len() == SIZE);
            }
            "HEAD" => drop(client.head_object().bucket(BUCKET).key(key(0)).send().await?),
            _ => {
                let page =
                    client.list_objects_v2().bucket(BUCKET).prefix("folder/0/").max_keys(50).send().await?;
                ensure!(page.contents().len() == 50);
            }
        }
    }
    let all = counter.since_last().await?;
    Ok((all.instructions / 1000 / COUNTED as u64, all.allocations / COUNTED as u64))
}

async fn costs(profiled: Profiled, bounds: Bounds) -> Result<()> {
    let cluster =
        Cluster::start(Options { backends: 1, profiled: Some(profiled), ..Options::default() }).await?;
    let process = match profiled {
        Profiled::DataPlane => &cluster.data[0].process,
        Profiled::ControlPlane => &cluster.control[0].process,
    };
    let pid = process.pid().context("it does not run")?;
    let out: &Path = &cluster.folder().join("callgrind");
    let mut counter = Counter { pid, out: out.to_owned(), dumps: 0 };
    let client = cluster.s3(0);
    let mut wrong = Vec::new();
    for (what, bound) in
        [("PUT", bounds.put), ("GET", bounds.get), ("HEAD", bounds.head), ("LIST", bounds.list)]
    {
        let (mut number, mut counted) = (0, (u64::MAX, u64::MAX));
        let dear = |(thousands, allocations)| thousands > bound.0 || allocations > bound.1;
        while number < TRIES && dear(counted) {
            counted = phase(&client, &mut counter, what, number).await?;
            println!("{profiled:?} {what}: {} thousand instructions, {} allocations", counted.0, counted.1);
            number += 1;
        }
        let (thousands, allocations) = counted;
        if dear(counted) {
            wrong.push(format!("{what}: {counted:?}, at most {bound:?}"));
        }
        // A bound far above the truth guards nothing, and neither does a counter that counts nothing.
        if thousands < bound.0 / 2 || allocations < bound.1 / 2 {
            wrong.push(format!("{what}: {counted:?}: lower the bounds, {bound:?}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{profiled:?}, thousands of instructions and allocations: {}",
        wrong.join("; ")
    );
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_does_not_do_more_than_it_did() -> Result<()> {
    costs(
        Profiled::DataPlane,
        Bounds { put: (1450, 385), get: (800, 325), head: (480, 180), list: (1080, 350) },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_does_not_do_more_than_it_did() -> Result<()> {
    costs(
        Profiled::ControlPlane,
        Bounds { put: (950, 950), get: (175, 92), head: (175, 92), list: (630, 350) },
    )
    .await
}
