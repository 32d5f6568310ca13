//! `s3o backend probe`: what a backend can do and what it needs.

use s3o_proto::v1;

use super::table::Table;
use super::{Connection, connect, refused};
use crate::say;

/// What is done with one backend.
#[derive(clap::Subcommand)]
pub(crate) enum BackendCommand {
    /// Ask a backend what it can do, and say which settings it needs
    Probe(ProbeArgs),
}

/// Flags of `backend probe`.
#[derive(clap::Args)]
pub(crate) struct ProbeArgs {
    /// A backend's name, as in `s3o status`
    name: String,
    /// Let what its ETags prove count from now on, where the declaration leaves `etag` open
    #[arg(long)]
    store: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Does it.
pub(crate) async fn backend(command: &BackendCommand) -> anyhow::Result<()> {
    match command {
        BackendCommand::Probe(args) => probe(args).await,
    }
}

/// Asks, and shows what was found. An error where something is left there, or was to be stored and is not.
async fn probe(args: &ProbeArgs) -> anyhow::Result<()> {
    let mut client = connect(&args.connection).await?;
    let request = v1::ProbeBackendRequest { name: args.name.clone(), store: args.store };
    let reply = client.probe_backend(request).await.map_err(|status| refused(&status))?.into_inner();
    let v1::ProbeBackendReply { findings, etag, requests, left, stored, not_stored } = reply;
    let settings: Vec<String> = findings.iter().map(|finding| finding.setting.clone()).collect();
    show(findings);
    say(format_args!("\nasked with {requests} requests"));
    show_settings(&args.name, &settings);
    if stored {
        say(format_args!("stored: etag {etag}; all other settings are for the declaration only"));
    }
    left.iter().for_each(|key| say(format_args!("left there, to be deleted by hand: {key}")));
    match (not_stored.as_str(), left.len()) {
        ("", 0) => Ok(()),
        ("", count) => anyhow::bail!("{count} keys could not be deleted"),
        (why, _) => anyhow::bail!("nothing was stored: {why}"),
    }
}

fn show(findings: Vec<v1::ProbeFinding>) {
    let mut table = Table::new(["WHAT", "VERDICT", "SEEN"]);
    for finding in findings {
        let v1::ProbeFinding { name, verdict, detail, setting: _ } = finding;
        table.row([name, verdict, detail]);
    }
    say(table);
}

fn show_settings(name: &str, settings: &[String]) {
    let lines: Vec<&String> = settings.iter().filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        say(format_args!("the declaration of {name} can stay as it is"));
        return;
    }
    say(format_args!("for the entry of {name} under `backends`:"));
    lines.into_iter().for_each(|line| say(format_args!("    {line}")));
}
