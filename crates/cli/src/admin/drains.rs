//! `s3o admin drain`, `undrain`, `drains`: backends that are emptied.

use indicatif::{ProgressBar, ProgressStyle};
use s3o_proto::v1;
use tonic::Streaming;

use super::table::{Table, bytes};
use super::{Connection, connect, refused};
use crate::say;

/// Flags of `drain` and `undrain`.
#[derive(clap::Args)]
pub(crate) struct DrainArgs {
    /// A backend's name, as in `s3o status`
    name: String,
    #[command(flatten)]
    connection: Connection,
}

/// Begins a drain and shows how far it is; to interrupt it stops the showing only.
pub(crate) async fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    let mut client = connect(&args.connection).await?;
    let request = v1::DrainBackendRequest { name: args.name.clone() };
    let progress = client.drain_backend(request).await.map_err(|status| refused(&status))?.into_inner();
    follow(progress, &args.name).await
}

/// Shows how far it is until nothing is left.
pub(crate) async fn follow(mut progress: Streaming<v1::DrainProgress>, name: &str) -> anyhow::Result<()> {
    let (mut bar, mut begun) = (None, 0);
    while let Some(drain) = progress.message().await.map_err(|status| refused(&status))? {
        let left = drain.bytes + drain.other_bytes;
        let bar = bar.get_or_insert_with(|| {
            begun = left;
            bar_of(left)
        });
        // Writes that were under way may have come on top.
        begun = begun.max(left);
        bar.set_length(begun);
        bar.set_position(begun - left);
        bar.set_message(what_is_left(&drain));
        if drain.done {
            bar.finish_and_clear();
            say(format_args!("{name}: nothing is left there"));
            return Ok(());
        }
    }
    anyhow::bail!("the control plane ended; the drain goes on: see `s3o admin drains`")
}

pub(super) fn bar_of(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn what_is_left(drain: &v1::DrainProgress) -> String {
    let v1::DrainProgress {
        name: _,
        asked: _,
        objects,
        bytes: left,
        other_bytes,
        waiting,
        done: _,
        removal: _,
    } = drain;
    let (left, other) = (bytes(i128::from(*left)), bytes(i128::from(*other_bytes)));
    format!("{objects} objects with {left}, {other} to be deleted or under way; {waiting} waiting")
}

/// Takes a drain back.
pub(crate) async fn undrain(args: &DrainArgs) -> anyhow::Result<()> {
    let mut client = connect(&args.connection).await?;
    let request = v1::UndrainBackendRequest { name: args.name.clone() };
    client.undrain_backend(request).await.map_err(|status| refused(&status))?;
    say(format_args!("{}: takes objects again", args.name));
    Ok(())
}

/// Shows all drains.
pub(crate) async fn drains(connection: &Connection) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let reply = client.list_drains(v1::ListDrainsRequest {}).await.map_err(|status| refused(&status))?;
    let mut table = Table::new(["BACKEND", "WHY", "OBJECTS", "BYTES", "OTHER BYTES", "WAITING", "DONE"]);
    for drain in reply.into_inner().drains {
        let v1::DrainProgress { name, asked, objects, bytes: left, other_bytes, waiting, done, removal } =
            drain;
        let why = match (removal.as_str(), asked) {
            ("", true) => "asked for".to_owned(),
            ("", false) => "not declared".to_owned(),
            (mode, _) => format!("given up: {mode}"),
        };
        table.row([
            name,
            why,
            objects.to_string(),
            bytes(i128::from(left)),
            bytes(i128::from(other_bytes)),
            waiting.to_string(),
            if done { "yes" } else { "no" }.to_owned(),
        ]);
    }
    say(table);
    Ok(())
}
