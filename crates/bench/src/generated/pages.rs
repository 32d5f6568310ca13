//! LIST pages of 1,000 from many places.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::fill::PREFIX;
use crate::keys::mix;
use crate::load::closed::Lap;
use crate::load::{Feed, Workshop, connect_all};
use crate::procs::Cpu;
use crate::stats::{Percentiles, Spread, float, spread};
use crate::target::Target;

/// Connections of the two measurements: one for latency, some for throughput.
const CONNECTIONS: [usize; 2] = [1, 8];

/// Pages begin behind one of the first prefixes, so that 1,000 entries follow also with a delimiter and
/// only 10,000 keys.
const FIRST: u64 = 0xb00;

/// Listings at one number of objects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Listing {
    objects: u64,
    delimiter: bool,
    /// By number of connections.
    rounds: Vec<(usize, Vec<Round>)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Round {
    rate: f64,
    latency: Option<Percentiles>,
    /// Microseconds a page.
    cpu: Cpu,
    failed: u64,
}

impl Listing {
    fn over(&self, connections: usize, figure: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        let (_, rounds) = self.rounds.iter().find(|(found, _)| *found == connections)?;
        spread(rounds.iter().filter_map(figure))
    }

    fn p50(&self) -> Option<f64> {
        self.over(1, |round| round.latency.map(|latency| latency.p50)).map(|spread| spread.median)
    }
}

fn after(n: u64) -> String {
    format!("{PREFIX}/{:03x}", mix(n) % FIRST)
}

async fn check(target: &Target, workshop: &Workshop, delimiter: bool) -> Result<()> {
    let mut connections = connect_all(&target.addresses, 1, false).await?;
    let connection = connections.first_mut().context("no connection")?;
    let entry = if delimiter { "<CommonPrefixes>" } else { "<Contents>" };
    for n in 0..20 {
        let page = workshop.list(&format!("{PREFIX}/"), &after(n), delimiter)?;
        let (status, body) = connection.fetch(&page).await?;
        let entries = String::from_utf8_lossy(&body).matches(entry).count();
        ensure!(status == 200 && entries == 1000, "a page answers {status} with {entries} of {entry}");
    }
    Ok(())
}

/// Measures pages, in rounds.
pub(super) async fn measure(
    target: &Target,
    objects: u64,
    delimiter: bool,
    count: usize,
    interval: Duration,
) -> Result<Listing> {
    let workshop = Workshop::new(target.signer(), &target.bucket, &target.host)?;
    check(target, &workshop, delimiter).await?;
    let mut rounds = CONNECTIONS.map(|connections| (connections, Vec::new()));
    for _ in 0..count {
        for (connections, found) in &mut rounds {
            let pages = (0..500).map(|n| workshop.list(&format!("{PREFIX}/"), &after(n), delimiter));
            let feed = Feed::cycle(pages.collect::<Result<_>>()?);
            let open = connect_all(&target.addresses, *connections, false).await?;
            let before = target.groups.cpu();
            let lap = Lap::start(open, feed);
            lap.run(interval).await;
            let (count, cpu) = (lap.count(), target.groups.cpu());
            let ended = lap.end().await?;
            let pages = float(count.requests.max(1));
            found.push(Round {
                rate: count.rate(0, false),
                latency: Percentiles::of(&ended.latency),
                cpu: cpu.since(&before, |seconds| seconds * 1e6 / pages),
                failed: ended.failed.count,
            });
        }
    }
    let listing = Listing { objects, delimiter, rounds: rounds.into() };
    eprintln!(
        "{objects} objects, delimiter {delimiter}: p50 {:.2} ms",
        listing.p50().unwrap_or_default() / 1000.0
    );
    Ok(listing)
}

/// One row a listing; ratios are to the fewest objects.
pub(super) fn table(lists: &[Listing], align: impl Fn(&[Vec<String>], usize) -> String) -> String {
    let head = [
        "objects",
        "delimiter",
        "1 conn: p50 ms",
        "p99",
        "p50 to fewest",
        "8 conns: pages/s",
        "p50 ms",
        "CPU µs/page: front",
        "control",
        "postgres",
        "failed",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for list in lists {
        let first = lists.iter().find(|other| other.delimiter == list.delimiter).and_then(Listing::p50);
        let ratio = list.p50().zip(first).map(|(own, first)| own / first);
        let millis = |connections, pick: fn(Percentiles) -> f64| {
            let spread = list.over(connections, |round| round.latency.map(pick));
            spread.map_or("-".to_owned(), |spread| format!("{:.2}", spread.median / 1000.0))
        };
        let cpu = |pick: fn(Cpu) -> f64| {
            list.over(8, |round| Some(pick(round.cpu)))
                .map_or("-".to_owned(), |spread| format!("{:.0}", spread.median))
        };
        let rate = list.over(8, |round| Some(round.rate));
        let failed: u64 = list.rounds.iter().flat_map(|(_, rounds)| rounds).map(|round| round.failed).sum();
        rows.push(vec![
            list.objects.to_string(),
            if list.delimiter { "/" } else { "none" }.to_owned(),
            millis(1, |latency| latency.p50),
            millis(1, |latency| latency.p99),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            rate.map_or("-".to_owned(), |rate| format!("{:.0}", rate.median)),
            millis(8, |latency| latency.p50),
            cpu(|cpu| cpu.front),
            cpu(|cpu| cpu.control),
            cpu(|cpu| cpu.postgres),
            failed.to_string(),
        ]);
    }
    align(&rows, 2)
}
