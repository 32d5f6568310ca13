//! `s3o-campaign`: the fault campaign, for anyone to run for as long as they like. Exit code 1 when anything was
//! violated, 2 when it could not be run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use s3o_integration_tests::campaign;
use s3o_integration_tests::campaign::plan::{AT_ONCE, Plan, parse_kinds};

/// Injects faults into a whole system under load for some minutes, and checks what it promises.
#[derive(Debug, Parser)]
#[command(name = "s3o-campaign")]
struct Arguments {
    /// How long clients work and faults strike.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Where everything random comes from; drawn and shown when it is left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Which faults, as a list of names or beginnings of names: `kill,cut,drain`; `all`, `none`.
    #[arg(long, default_value = "all")]
    faults: String,
    /// How many of them at a time, at most.
    #[arg(long, default_value_t = AT_ONCE)]
    at_once: usize,
    /// Where history and logs are kept when something is violated.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the campaign could not be run to its end: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was violated.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let plan = Plan {
        length: Duration::try_from_secs_f64(arguments.minutes * 60.0)?,
        seed,
        kinds: parse_kinds(&arguments.faults)?,
        at_once: arguments.at_once,
        out: arguments.out,
    };
    eprintln!("campaign of {} min, seed {seed}, {} kinds of faults", arguments.minutes, plan.kinds.len());
    let report = campaign::run(plan).await?;
    println!("{}", report.text);
    Ok(report.violations.is_empty())
}
