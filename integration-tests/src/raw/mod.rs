//! An S3 client that can send what is wrong: cut bodies, lying lengths, bad signatures, broken HTTP.
//!
//! Invariant: it sends exactly the bytes it was told to, and an answer is read to its end or an error
//! says that there was none.

mod sign;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use sign::{Keys, Signature, sha256, stamp};

/// No answer within this is a failure of its own.
const PATIENCE: Duration = Duration::from_secs(90);

/// How the payload is covered by the signature.
#[derive(Debug, Clone)]
pub enum Payload {
    /// By its SHA-256.
    Signed,
    /// Not at all.
    Unsigned,
    /// By this `x-amz-content-sha256`, whatever the body is.
    Claimed(String),
    /// In signed chunks of this size, with these trailers, signed too.
    Chunks {
        /// Bytes of data in a chunk.
        size: usize,
        /// Header names and values after the body.
        trailers: Vec<(String, String)>,
    },
    /// In unsigned chunks with trailers, as newer SDKs do.
    UnsignedChunks {
        /// Bytes of data in a chunk.
        size: usize,
        /// Header names and values after the body.
        trailers: Vec<(String, String)>,
    },
}

/// A request before it is signed.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Percent-encoded path.
    pub path: String,
    /// Percent-encoded query, without `?`.
    pub query: String,
    /// All headers but host, date, payload hash, length and authorization.
    pub headers: Vec<(String, String)>,
    /// Plain body.
    pub body: Vec<u8>,
    /// How it is signed.
    pub payload: Payload,
    /// Said instead of the true length.
    pub content_length: Option<u64>,
    /// When it was signed; now, if absent.
    pub at: Option<OffsetDateTime>,
}

impl Request {
    /// A request without query, headers and body.
    pub fn new(method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            payload: Payload::Signed,
            content_length: None,
            at: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how the payload is signed.
    #[must_use]
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

/// The bytes of a request: what stands before the body, and the body.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Request line and headers, with the empty line.
    pub head: Vec<u8>,
    /// The body as it is sent.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// In their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands between `<tag>` and `</tag>`.
    pub fn element(&self, tag: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
    }

    /// S3's error code.
    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

/// Sends signed requests to one address.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Where to.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Who signs.
    pub keys: Keys,
}

impl Raw {
    /// A client of the S3 listener at `address`.
    pub fn new(address: SocketAddr, access_key: &str, secret: &str) -> Self {
        let keys = Keys { access_key: access_key.into(), secret: secret.into(), region: "us-east-1".into() };
        Self { address, host: address.to_string(), keys }
    }

    /// Signs and encodes.
    pub fn wire(&self, request: &Request) -> Wire {
        let stamp = stamp(request.at.unwrap_or_else(OffsetDateTime::now_utc));
        let payload = payload_hash(request);
        let mut headers = request.headers.clone();
        headers.push(("host".into(), self.host.clone()));
        headers.push(("x-amz-date".into(), stamp.clone()));
        headers.push(("x-amz-content-sha256".into(), payload.clone()));
        if let Payload::Chunks { trailers, .. } | Payload::UnsignedChunks { trailers, .. } = &request.payload
        {
            headers.push(("content-encoding".into(), "aws-chunked".into()));
            headers.push(("x-amz-decoded-content-length".into(), request.body.len().to_string()));
            if !trailers.is_empty() {
                let names: Vec<&str> = trailers.iter().map(|(name, _)| name.as_str()).collect();
                headers.push(("x-amz-trailer".into(), names.join(",")));
            }
        }
        let mut signature =
            self.keys.sign(&stamp, &request.method, &request.path, &request.query, &headers, &payload);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={},Signature={}",
            self.keys.access_key, signature.scope, signature.signed_headers, signature.text
        );
        headers.push(("authorization".into(), authorization));
        let body = encode_body(request, &mut signature);
        if !body.is_empty()
            || request.content_length.is_some()
            || matches!(request.method.as_str(), "PUT" | "POST")
        {
            let length = request.content_length.unwrap_or(body.len() as u64);
            headers.push(("content-length".into(), length.to_string()));
        }
        headers.push(("connection".into(), "close".into()));
        Wire { head: head(request, &headers), body }
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: &Request) -> Result<Response> {
        let wire = self.wire(request);
        let mut connection = self.connect().await?;
        connection.write(&wire.head).await?;
        // The answer may come, and the connection close, before the body is through.
        let _ = connection.write(&wire.body).await;
        connection.read().await
    }

    /// Sends bytes as they are and reads the answer.
    pub async fn send_bytes(&self, bytes: &[u8]) -> Result<Response> {
        let mut connection = self.connect().await?;
        connection.write(bytes).await?;
        connection.read().await
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream })
    }

    /// A presigned URL's path and query.
    pub fn presign(&self, method: &str, path: &str, expires_s: u64, at: OffsetDateTime) -> String {
        self.presign_headers(method, path, expires_s, at, &[("host".to_owned(), self.host.clone())])
    }

    /// The same with other signed headers than `host`; S3 wants that one at least.
    pub fn presign_headers(
        &self,
        method: &str,
        path: &str,
        expires_s: u64,
        at: OffsetDateTime,
        headers: &[(String, String)],
    ) -> String {
        let stamp = stamp(at);
        let credential = format!("{}/{}", self.keys.access_key, self.keys.scope(&stamp)).replace('/', "%2F");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let signed: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let signed = signed.join("%3B");
        let own = if query.is_empty() { String::new() } else { format!("{query}&") };
        let query = format!(
            "{own}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={stamp}\
             &X-Amz-Expires={expires_s}&X-Amz-SignedHeaders={signed}"
        );
        let signature = self.keys.sign(&stamp, method, path, &query, headers, "UNSIGNED-PAYLOAD");
        format!("{path}?{query}&X-Amz-Signature={}", signature.text)
    }
}

fn payload_hash(request: &Request) -> String {
    match &request.payload {
        Payload::Signed => sha256(&request.body),
        Payload::Unsigned => "UNSIGNED-PAYLOAD".into(),
        Payload::Claimed(hash) => hash.clone(),
        Payload::Chunks { trailers, .. } if trailers.is_empty() => {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into()
        }
        Payload::Chunks { .. } => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".into(),
        Payload::UnsignedChunks { .. } => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
    }
}

fn encode_body(request: &Request, signature: &mut Signature) -> Vec<u8> {
    let (size, trailers, signed) = match &request.payload {
        Payload::Chunks { size, trailers } => (*size, trailers, true),
        Payload::UnsignedChunks { size, trailers } => (*size, trailers, false),
        Payload::Signed | Payload::Unsigned | Payload::Claimed(_) => return request.body.clone(),
    };
    let mut out = Vec::new();
    let last: &[u8] = &[];
    for data in request.body.chunks(size.max(1)).chain(std::iter::once(last)) {
        out.extend(format!("{:x}", data.len()).bytes());
        if signed {
            out.extend(format!(";chunk-signature={}", signature.chunk(data)).bytes());
        }
        out.extend(b"\r\n");
        out.extend(data);
        if !data.is_empty() {
            out.extend(b"\r\n");
        }
    }
    for (name, value) in trailers {
        out.extend(format!("{name}:{value}\r\n").bytes());
    }
    if signed && !trailers.is_empty() {
        let text =
            trailers.iter().fold(String::new(), |text, (name, value)| text + name + ":" + value + "\n");
        out.extend(format!("x-amz-trailer-signature:{}\r\n", signature.trailer(&text)).bytes());
    }
    out.extend(b"\r\n");
    out
}

fn head(request: &Request, headers: &[(String, String)]) -> Vec<u8> {
    let target = if request.query.is_empty() {
        request.path.clone()
    } else {
        format!("{}?{}", request.path, request.query)
    };
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method);
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Sends some bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .context("the server takes nothing")??;
        Ok(())
    }

    /// Says that nothing follows.
    pub async fn finish(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Closes it with a reset.
    pub fn reset(self) -> Result<()> {
        Ok(self.stream.set_zero_linger()?)
    }

    /// Reads until the server closes, and past `100 Continue`.
    pub async fn read(&mut self) -> Result<Response> {
        let mut bytes = Vec::new();
        let read =
            tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await.context("no answer")?;
        match parse(&bytes) {
            Ok(response) => Ok(response),
            Err(error) => match read {
                Err(broken) => Err(error.context(broken)),
                Ok(_) => Err(error),
            },
        }
    }

    /// Reads what is there until `end` is seen.
    pub async fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(end) {
            let n =
                tokio::time::timeout(PATIENCE, self.stream.read(&mut byte)).await.context("no answer")??;
            if n == 0 {
                bail!("closed after {:?}", String::from_utf8_lossy(&bytes));
            }
            bytes.push(byte[0]);
        }
        Ok(bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<Response> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.with_context(|| format!("no answer: {} bytes came", bytes.len()))?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
    let body = &bytes[end + 4..];
    if status == 100 {
        return parse(body);
    }
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Ok(Response { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end =
            rest.windows(2).position(|two| two == b"\r\n").context("the answer's last chunk is missing")?;
        let line = std::str::from_utf8(&rest[..end])?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or(line).trim(), 16)?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend(rest.get(..size).context("the answer ends within a chunk")?);
        rest = rest.get(size + 2..).context("the answer ends after a chunk")?;
    }
}
