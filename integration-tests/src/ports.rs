//! Ports that stay ours while a process is killed and started again.
//!
//! Invariant: no two callers of one test run get the same port, and none is from the range that the
//! kernel hands out for outgoing connections, which could take it while its process is down.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use anyhow::{Result, bail};
use tokio::net::TcpSocket;

/// Below Linux's default `ip_local_port_range` (32768 …).
const RANGE: std::ops::Range<u16> = 12_000..32_000;

static TAKEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// An address on loopback that nobody listens on.
pub fn free() -> Result<SocketAddr> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for _ in 0..10_000 {
        let port = rand::random_range(RANGE);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if !taken.contains(&port) && is_free(address) {
            taken.push(port);
            return Ok(address);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}

/// Asked without listening: a process that is just being started has a copy of our sockets until its program begins, and
/// a copy that listens would keep the port.
fn is_free(address: SocketAddr) -> bool {
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    });
    bound.is_ok()
}
