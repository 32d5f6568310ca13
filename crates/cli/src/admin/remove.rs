//! `s3o admin remove`: a backend that is given up. First what it would do, then, with the confirmation, the deed.

use s3o_proto::v1;

use super::drains::follow;
use super::table::bytes;
use super::{Connection, connect, refused};
use crate::say;

/// Flags of `remove`.
#[derive(clap::Args)]
pub(crate) struct RemoveArgs {
    /// A drained backend's name, as in `s3o admin drains`
    name: String,
    /// Delete the bytes there; without it they stay where they are, and the backend may be gone already
    #[arg(long)]
    purge: bool,
    /// Let versions go of which no other backend has a good copy
    #[arg(long)]
    accept_losses: bool,
    /// What the preview gave; without it only the preview is shown
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["purge", "accept_losses"])]
    confirm: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Shows the preview, or does what was confirmed and shows how far it is.
pub(crate) async fn remove(args: &RemoveArgs) -> anyhow::Result<()> {
    let mut client = connect(&args.connection).await?;
    let name = args.name.clone();
    if let Some(confirmation) = args.confirm.clone() {
        let request = v1::RemoveBackendRequest { name, confirmation };
        let progress = client.remove_backend(request).await.map_err(|status| refused(&status))?;
        return follow(progress.into_inner(), &args.name).await;
    }
    let mode = if args.purge { "purge" } else { "forget" }.to_owned();
    let request = v1::PreviewRemovalRequest { name, mode, accept_losses: args.accept_losses };
    let preview = client.preview_removal(request).await.map_err(|status| refused(&status))?;
    show(preview.into_inner());
    Ok(())
}

fn show(preview: v1::RemovalPreview) {
    let v1::RemovalPreview {
        name,
        mode,
        accept_losses,
        objects,
        bytes: held,
        imported,
        last_copies,
        uploads,
        confirmation,
        confirm_within_s,
    } = preview;
    let fate = if mode == "purge" { "DELETED there" } else { "left there and forgotten" };
    say(format_args!("{name} has {objects} objects with {}: they will be {fate}", bytes(i128::from(held))));
    if imported > 0 {
        say(format_args!("{imported} of them were there before they were imported, under keys of others"));
    }
    match (last_copies, accept_losses) {
        (0, _) => say("every version has a good copy elsewhere"),
        (n, true) => say(format_args!("{n} VERSIONS WILL BE LOST: no other backend has a good copy of them")),
        (n, false) => say(format_args!(
            "{n} versions have no good copy elsewhere: they stay until the drain has moved them (--accept-losses lets them go)"
        )),
    }
    if uploads > 0 {
        let fate = if accept_losses { "given up" } else { "waited for" };
        say(format_args!("{uploads} multipart uploads have parts there, and will be {fate}"));
    }
    say(format_args!("within {confirm_within_s} s: s3o admin remove {name} --confirm {confirmation}"));
}
