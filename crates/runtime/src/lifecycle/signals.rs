//! SIGINT and SIGTERM end a process, a second one at once; SIGHUP makes it read its files again.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{Reload, Shutdown};

/// Waits until a signal, or anybody in the process, ends the service, then ends it in both stages.
/// `true`: everything finished within `grace`. Fails only when signals cannot be listened to.
pub async fn run_until_stopped(shutdown: &Shutdown, reload: &Reload, grace: Duration) -> io::Result<bool> {
    let mut signals = Signals::listen()?;
    loop {
        tokio::select! {
            () = shutdown.stopping() => break,
            name = signals.end.next() => {
                info!(signal = name, "stopping");
                shutdown.begin();
            }
            _ = signals.hangup.recv() => {
                info!("reading configuration and certificates again");
                reload.request();
            }
        }
    }
    let finish = shutdown.finish(grace);
    tokio::pin!(finish);
    loop {
        tokio::select! {
            in_time = &mut finish => return Ok(in_time),
            name = signals.end.next() => {
                warn!(signal = name, "stopping at once");
                shutdown.force();
            }
        }
    }
}

struct Signals {
    end: EndSignals,
    hangup: Signal,
}

struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let end = EndSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        Ok(Self { end, hangup: signal(SignalKind::hangup())? })
    }
}

impl EndSignals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
