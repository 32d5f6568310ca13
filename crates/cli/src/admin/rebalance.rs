//! `s3o admin rebalance`: copies that are moved to fill backends as wanted.

use indicatif::{ProgressBar, ProgressStyle};
use s3o_proto::v1;

use super::table::{Table, bytes};
use super::{Connection, connect, refused};
use crate::say;

/// Flags of `rebalance`.
#[derive(clap::Args)]
pub(crate) struct RebalanceArgs {
    /// Only say what would be moved
    #[arg(long)]
    dry_run: bool,
    /// `pack` or `spread`; without it as configured
    #[arg(long, value_name = "STRATEGY", default_value = "")]
    strategy: String,
    /// In percent of a backend's quota: what is left alone (spread), or left free (pack)
    #[arg(long, value_name = "PERCENT")]
    threshold: Option<u32>,
    /// Copies at most
    #[arg(long, value_name = "COPIES")]
    batch: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs one and shows how far it is; to interrupt it stops the showing only.
pub(crate) async fn rebalance(args: &RebalanceArgs) -> anyhow::Result<()> {
    let mut client = connect(&args.connection).await?;
    let request = v1::RebalanceRequest {
        dry_run: args.dry_run,
        strategy: args.strategy.clone(),
        threshold_percent: args.threshold,
        batch: args.batch,
    };
    let mut run = client.rebalance(request).await.map_err(|status| refused(&status))?.into_inner();
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}%  {msg}") {
        bar.set_style(style);
    }
    let mut table = Table::new(["BUCKET", "KEY", "SIZE", "FROM", "TO", "WHY NOT"]);
    while let Some(progress) = run.message().await.map_err(|status| refused(&status))? {
        bar.set_length(progress.planned_bytes);
        bar.set_position(progress.moved_bytes);
        let Some(copy) = progress.copy.clone() else {
            bar.finish_and_clear();
            if args.dry_run || progress.failed > 0 {
                say(table);
            }
            return conclude(args.dry_run, &progress);
        };
        bar.set_message(format!("{}/{}: {} to {}", copy.bucket, copy.key, copy.from, copy.to));
        if args.dry_run || !copy.why.is_empty() {
            let v1::MovedCopy { bucket, key, from, to, size, why } = copy;
            table.row([bucket, key, bytes(i128::from(size)), from, to, why]);
        }
    }
    anyhow::bail!("the control plane ended; what was moved stays moved")
}

fn conclude(dry_run: bool, progress: &v1::RebalanceProgress) -> anyhow::Result<()> {
    let v1::RebalanceProgress { copy: _, planned_bytes, moved, moved_bytes, failed, api_calls } = progress;
    if *planned_bytes == 0 {
        say("nothing to move: the backends are as full as is wanted");
        return Ok(());
    }
    let (planned, size) = (bytes(i128::from(*planned_bytes)), bytes(i128::from(*moved_bytes)));
    let verb = if dry_run { "would be moved" } else { "moved" };
    say(format_args!(
        "{moved} copies with {size} {verb} of {planned} wanted, for {api_calls} requests to backends"
    ));
    if *failed > 0 {
        anyhow::bail!("{failed} copies could not be moved");
    }
    Ok(())
}
