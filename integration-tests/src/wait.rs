//! Waiting for what must come, without asserting how fast.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Generous: the suite shares two cores with everything else.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Asks until the answer is yes. An error counts as "not yet" and is shown when the deadline passes.
pub async fn until<F>(what: &str, mut ask: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let end = Instant::now() + DEADLINE;
    let mut last = None;
    while Instant::now() < end {
        match ask().await {
            Ok(true) => return Ok(()),
            Ok(false) => last = None,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("waited {DEADLINE:?} for: {what}")),
        None => bail!("waited {DEADLINE:?} for: {what}"),
    }
}

/// A plain GET. Status and body.
pub async fn http_get(address: std::net::SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut bytes = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.context("no answer")??;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// Waits until `/health/ready` answers 200.
pub async fn ready(address: std::net::SocketAddr) -> Result<()> {
    until(&format!("http://{address}/health/ready"), || async {
        Ok(http_get(address, "/health/ready").await?.0 == 200)
    })
    .await
}
