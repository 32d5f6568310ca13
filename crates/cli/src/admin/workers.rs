//! `s3o admin workers`, `run` and its short forms: workers and their ticks.

use indicatif::ProgressBar;
use s3o_proto::v1;

use super::drains::bar_of;
use super::table::Table;
use super::{Connection, connect, refused};
use crate::say;

/// Flags of `run`.
#[derive(clap::Args)]
pub(crate) struct TickArgs {
    /// A name that `s3o admin workers` lists
    pub(super) name: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// Shows what is known of each worker.
pub(crate) async fn workers(connection: &Connection) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let reply = client.list_workers(v1::ListWorkersRequest {}).await.map_err(|status| refused(&status))?;
    let mut table = Table::new(["WORKER", "REPLICA", "LAST SUCCESS", "LAST FAILURE", "FAILURES", "ERROR"]);
    for worker in reply.into_inner().workers {
        let v1::Worker { name, instance, last_success, last_failure, last_error, consecutive_failures } =
            worker;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            name,
            instance,
            or_dash(last_success),
            or_dash(last_failure),
            consecutive_failures.to_string(),
            or_dash(last_error),
        ]);
    }
    say(table);
    Ok(())
}

/// Runs a tick, shows what waits meanwhile, and then what was done. To interrupt it stops the showing only.
pub(crate) async fn tick(connection: &Connection, name: &str) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let request = v1::RunWorkerRequest { name: name.to_owned() };
    let mut told = client.run_worker(request).await.map_err(|status| refused(&status))?.into_inner();
    let mut bar = None;
    while let Some(progress) = told.message().await.map_err(|status| refused(&status))? {
        let v1::WorkerProgress { waiting, done } = progress;
        if let Some(left) = waiting {
            show(bar.get_or_insert_with(|| bar_of(left)), left);
        }
        if let Some(v1::WorkerCounts { counts }) = done {
            bar.iter().for_each(ProgressBar::finish_and_clear);
            show_counts(name, counts.into_iter().collect());
            return Ok(());
        }
    }
    anyhow::bail!("the control plane ended before the tick of {name} did")
}

/// What comes on top while it runs makes the whole longer.
fn show(bar: &ProgressBar, left: u64) {
    let whole = bar.length().unwrap_or(left).max(left);
    bar.set_length(whole);
    bar.set_position(whole - left);
    bar.set_message(format!("{left} waiting"));
}

fn show_counts(name: &str, mut counts: Vec<(String, u64)>) {
    counts.sort();
    if counts.is_empty() {
        say(format_args!("{name}: nothing to do"));
    }
    for (what, count) in counts {
        say(format_args!("{what}: {count}"));
    }
}
