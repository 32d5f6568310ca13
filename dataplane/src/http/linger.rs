//! The end of a connection whose client may still be sending.
//!
//! Why: closing a socket with bytes unread makes the kernel reset the connection, and the client never sees the
//! answer that was sent before (RFC 9112, section 9.6). It is how a client ends that asked for `100 Continue`, was
//! refused, and had already lost its patience and sent the body.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::drain::{MAX_BYTES, MAX_TIME};

/// How long a client may send nothing and not close either.
const PAUSE: Duration = Duration::from_secs(2);
/// What is read at once.
const BUFFER: usize = 16 * 1024;

/// Reads what still comes, within bounds, until the client has ended its side too. Ours has been ended before.
pub(super) async fn linger<I: AsyncRead + Unpin>(io: &mut I) {
    // Not part of the task, which is as large as this for as long as the connection lasts.
    let mut buffer = vec![0; BUFFER];
    let mut seen = 0;
    let until_end = async {
        while let Ok(Ok(count)) = tokio::time::timeout(PAUSE, io.read(&mut buffer)).await {
            seen += count;
            if count == 0 || seen > MAX_BYTES {
                return;
            }
        }
    };
    // Not in time: the connection is closed with the answer perhaps unread.
    let _ = tokio::time::timeout(MAX_TIME, until_end).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Bytes that a client can send until it is left.
    async fn sent(pieces: usize) -> usize {
        let (mut ours, mut theirs) = tokio::io::duplex(BUFFER);
        let lingers = tokio::spawn(async move { linger(&mut ours).await });
        let mut sent = 0;
        for _ in 0..pieces {
            if theirs.write_all(&[0; BUFFER]).await.is_err() {
                break;
            }
            sent += BUFFER;
        }
        drop(theirs);
        lingers.await.expect("it ends");
        sent
    }

    #[tokio::test]
    async fn all_is_read_until_the_client_closes() {
        assert_eq!(sent(100).await, 100 * BUFFER);
    }

    #[tokio::test]
    async fn who_sends_without_end_is_left() {
        let most = MAX_BYTES / BUFFER + 2;
        assert!(sent(2 * most).await <= most * BUFFER);
    }

    #[tokio::test]
    async fn who_neither_sends_nor_closes_is_left() {
        let (mut ours, theirs) = tokio::io::duplex(1);
        linger(&mut ours).await;
        drop(theirs);
    }
}
