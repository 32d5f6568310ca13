//! `s3o admin reconcile`, `sync`, `runs`: runs over backends.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use s3o_proto::v1;
use tonic::Streaming;

use super::table::{Table, bytes};
use super::{Connection, connect, refused};
use crate::say;

/// Flags of `reconcile`.
#[derive(clap::Args)]
pub(crate) struct ReconcileArgs {
    /// Only this one, as in `s3o status`
    #[arg(long, value_name = "NAME", default_value = "")]
    backend: String,
    /// Count what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on although more than 1 % of a backend's copies are gone: it has lost that much
    #[arg(long)]
    accept_losses: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Flags of `sync`.
#[derive(clap::Args)]
pub(crate) struct SyncArgs {
    /// Where the keys are, as in `s3o status`
    #[arg(long, value_name = "NAME")]
    backend: String,
    /// The bucket that gets the objects
    #[arg(long, value_name = "NAME")]
    bucket: String,
    /// Only keys on the backend that begin so
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// Count what would be imported, and import nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Compares backends with the tables, and shows how far that is.
pub(crate) async fn reconcile(args: &ReconcileArgs) -> anyhow::Result<()> {
    let mut client = connect(&args.connection).await?;
    let request = v1::ReconcileRequest {
        backend: args.backend.clone(),
        dry_run: args.dry_run,
        accept_losses: args.accept_losses,
    };
    show(client.reconcile(request).await.map_err(|status| refused(&status))?.into_inner()).await
}

/// Imports keys that others wrote.
pub(crate) async fn sync(args: &SyncArgs) -> anyhow::Result<()> {
    let mut client = connect(&args.connection).await?;
    let request = v1::ImportRequest {
        backend: args.backend.clone(),
        bucket: args.bucket.clone(),
        prefix: args.prefix.clone(),
        dry_run: args.dry_run,
    };
    show(client.import(request).await.map_err(|status| refused(&status))?.into_inner()).await
}

/// A bar a backend; to interrupt it stops the showing only.
async fn show(mut progress: Streaming<v1::RunProgress>) -> anyhow::Result<()> {
    let all = MultiProgress::new();
    let mut bars: BTreeMap<String, ProgressBar> = BTreeMap::new();
    let mut ended: BTreeMap<String, v1::RunProgress> = BTreeMap::new();
    while let Some(run) = progress.message().await.map_err(|status| refused(&status))? {
        let bar = bars.entry(run.backend.clone()).or_insert_with(|| all.add(bar()));
        let (rows, listed) = (count(&run, "rows"), count(&run, "listed"));
        bar.set_length(run.expected.max(rows));
        bar.set_position(rows);
        bar.set_message(format!("{}: {listed} keys listed, at {}", run.backend, run.cursor));
        if run.state != "running" {
            bar.finish_and_clear();
            ended.insert(run.backend.clone(), run);
        }
    }
    if ended.len() < bars.len() || ended.is_empty() {
        anyhow::bail!("the control plane ended; the run goes on: see `s3o admin runs`");
    }
    let failed = ended.values().any(|run| run.state == "failed");
    table(ended.into_values());
    if failed { Err(anyhow::anyhow!("a run stopped before its end")) } else { Ok(()) }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}%  {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn count(run: &v1::RunProgress, name: &str) -> u64 {
    run.counts.get(name).copied().unwrap_or(0)
}

fn table(runs: impl Iterator<Item = v1::RunProgress>) {
    let mut table = Table::new([
        "BACKEND",
        "RUN",
        "STATE",
        "LISTED",
        "MARKED",
        "LOST",
        "ATTACHED",
        "ORPHANED",
        "IMPORTED",
        "SKIPPED",
        "LEFT ALONE",
        "UNCLEAR",
        "UNMANAGED",
        "DRIFT",
        "UNKNOWN",
        "WHY",
    ]);
    for run in runs {
        let n = |name: &str| count(&run, name).to_string();
        let dry = if run.dry_run { " (dry)" } else { "" };
        let size = |name: &str| bytes(i128::from(count(&run, name)));
        let unmanaged = size("unmanaged_bytes");
        table.row([
            run.backend.clone(),
            format!("{}{dry}", run.kind),
            run.state.clone(),
            n("listed"),
            n("marked"),
            n("lost"),
            n("attached"),
            n("orphaned"),
            n("imported"),
            n("skipped"),
            n("left_alone"),
            n("ambiguous"),
            format!("{} ({unmanaged})", n("unmanaged")),
            size("drift_bytes"),
            size("unknown_bytes"),
            run.error.clone().unwrap_or_default(),
        ]);
    }
    say(table);
}

/// Shows each backend's last run.
pub(crate) async fn runs(connection: &Connection) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let reply = client.list_runs(v1::ListRunsRequest {}).await.map_err(|status| refused(&status))?;
    table(reply.into_inner().runs.into_iter());
    Ok(())
}
