//! Ports for processes that must be told theirs.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Child;
use crate::keys::mix;

/// Below Linux's default `ip_local_port_range`: connections of the loader do not take them.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// An address on loopback that nobody listens on and that was not given out before.
pub(crate) fn free_port() -> Result<SocketAddr> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = taken.get_or_insert_default();
    let width = u64::from(RANGE.end - RANGE.start);
    for n in 0..width {
        let random = mix(n ^ u64::from(std::process::id()) << 20);
        let port = RANGE.start + u16::try_from(random % width)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if taken.insert(port) && TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}

/// Waits until `address` takes connections.
pub(crate) async fn wait_for_port(address: SocketAddr, child: &Child) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).await.is_err() {
        child.check()?;
        if Instant::now() > end {
            bail!("nothing listens on {address} after a minute");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
