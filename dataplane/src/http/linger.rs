//! The end of a connection whose client may still be sending.
//!
//! Why: closing a socket with bytes unread makes the kernel reset the connection, and the client never sees the
//! answer that was sent before (RFC 9112, section 9.6). It is how a client ends that asked for `100 Continue`, was
//! refused, and had already lost its patience and sent the body.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How long a client may send nothing and not close either.
const PAUSE: Duration = Duration::from_secs(2);
/// What is read at once.
const BUFFER: usize = 16 * 1024;
/// What is read for an answer's sake, at most.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// And for how long.
const MAX_TIME: Duration = Duration::from_secs(10);

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
