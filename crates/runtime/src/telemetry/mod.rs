//! Logs: one JSON object a line on stdout, with a filter that can be changed while running.
//!
//! Invariant: a process has one log. Whoever sets it up second gets the first one's handle, so that
//! services and tests may share a process. Panics are log lines too.

mod json;

use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{Problems, Validate};

/// What always holds unless the setting names the target itself: audit events pass, `s3s` does not
/// log each refused signature twice, nor whole documents of clients that it cannot read, and connection chatter is left out.
const BASE: &str = "audit=info,s3s=warn,s3s::ops=off,s3s::service=off,s3s::http::de=off,h2=warn,hyper=warn,actix_server=warn,rustls=warn,tokio_postgres=warn";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For collectors.
    #[default]
    Json,
    /// For people.
    Text,
}

/// The `log` section of every configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Level, and levels by target: `info,s3o_dataplane=debug`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Json }
    }
}

impl Validate for LogConfig {
    fn validate(&self, problems: &mut Problems) {
        if let Err(error) = parse_filter(&self.filter) {
            problems.at("filter", error.to_string());
        }
    }
}

/// Why a filter was refused.
#[derive(Debug, thiserror::Error)]
#[error("`{filter}` is not a log filter: {reason}")]
pub struct FilterError {
    filter: String,
    reason: String,
}

/// Changes the filter of the process's log.
#[derive(Debug, Clone, Copy)]
pub struct LogHandle(&'static State);

#[derive(Debug)]
struct State {
    filter: Mutex<String>,
    /// `None` when somebody else owns the process's log.
    reload: Option<reload::Handle<EnvFilter, Registry>>,
}

static STATE: OnceLock<State> = OnceLock::new();

/// Sets the process's log up, once; later calls change its filter and nothing else.
pub fn init(config: &LogConfig) -> Result<LogHandle, FilterError> {
    let filter = parse_filter(&config.filter)?;
    let state = STATE.get_or_init(|| install(filter, config));
    let handle = LogHandle(state);
    handle.set_filter(&config.filter)?;
    Ok(handle)
}

impl LogHandle {
    /// Replaces the filter; at the next line it holds. Of two calls at once the later one counts whole.
    pub fn set_filter(&self, filter: &str) -> Result<(), FilterError> {
        let parsed = parse_filter(filter)?;
        let mut current = self.0.filter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reload) = &self.0.reload {
            reload
                .reload(parsed)
                .map_err(|error| FilterError { filter: filter.to_owned(), reason: error.to_string() })?;
        }
        filter.clone_into(&mut current);
        Ok(())
    }

    /// The filter as it was set.
    pub fn filter(&self) -> String {
        self.0.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn install(filter: EnvFilter, config: &LogConfig) -> State {
    let (filter, handle) = reload::Layer::new(filter);
    let lines = match config.format {
        LogFormat::Json => json::JsonLayer::stdout().boxed(),
        LogFormat::Text => {
            tracing_subscriber::fmt::layer().compact().with_ansi(std::io::stdout().is_terminal()).boxed()
        }
    };
    let installed = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().is_ok();
    if installed {
        log_panics();
    }
    State { filter: Mutex::new(config.filter.clone()), reload: installed.then_some(handle) }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, FilterError> {
    EnvFilter::from_str(&format!("{BASE},{filter}"))
        .map_err(|error| FilterError { filter: filter.to_owned(), reason: error.to_string() })
}

fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let error = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let stack = std::backtrace::Backtrace::force_capture().to_string();
        tracing::error!(error, place, stack, "panic");
    }));
}
