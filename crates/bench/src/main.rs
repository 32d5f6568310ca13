//! `s3o-bench`: measures ours beside a plain proxy, the backend itself, and any other S3 endpoint.
//!
//! `compare.rs` (run) → `measure.rs` (one interval) → `load/` (requests) and `procs/` (what they cost); `beside.rs` says
//! beside whom; `stack/` starts what is measured; `commits/`, `generated/` and `multipart/` are the special runs; `report/`
//! shows.
//!
//! Invariant: nothing that is measured runs in this process, and everything it started ends with it.

mod beside;
mod clock;
mod commits;
mod compare;
mod generated;
mod keys;
mod lanes;
mod load;
mod machine;
mod measure;
mod multipart;
mod null;
mod procs;
mod report;
mod scenario;
mod sign;
mod stack;
mod stats;
mod target;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use clock::http_date;

/// Measures s3-orchestrator. docs/performance.md tells what the figures mean.
#[derive(Debug, Parser)]
#[command(name = "s3o-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares targets side by side.
    Run(compare::RunArgs),
    /// The null backend as a process.
    Null(null::NullArgs),
    /// Metadata commits a second at the gRPC port, against one transaction per step.
    Commits(commits::CommitsArgs),
    /// LIST, and PUT and GET after a checkpoint, with many generated rows.
    List(generated::ListArgs),
    /// A large object in parts, and Complete of many small ones.
    Multipart(multipart::MultipartArgs),
    /// Shows a stored run again.
    Render(report::RenderArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::select! {
        ended = run(arguments.command) => ended,
        name = interrupted() => {
            eprintln!("{name}: ending");
            return ExitCode::from(130);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("s3o-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => compare::run(args).await,
        Command::Null(args) => null::run(args).await,
        Command::Commits(args) => commits::run(args).await,
        Command::List(args) => generated::run(args).await,
        Command::Multipart(args) => multipart::run(args).await,
        Command::Render(args) => report::show(args),
    }
}

/// Returns when somebody wants us to end. What runs is dropped then, and with it the processes.
async fn interrupted() -> &'static str {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => "SIGINT",
        _ = term.recv() => "SIGTERM",
    }
}
