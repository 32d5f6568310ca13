//! TLS of the S3 listener and between the planes: certificates change without a restart, and who has
//! none that is trusted stays outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use s3o_integration_tests::certificates::{Authority, Pair};
use s3o_integration_tests::cluster::DataPlane;
use s3o_integration_tests::config::{BUCKET, Dial, KEY, TOKEN, Tls};
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Patience with one call.
const CALL: Duration = Duration::from_secs(60);
/// The name in the control plane's certificate; nobody resolves it.
const CONTROL: &str = "control.test";
/// Refusals after which a data plane counts as refused for good.
const REFUSALS: usize = 4;

/// The certificate that a new connection to the S3 listener gets, checked against `authority`.
async fn shown(address: SocketAddr, authority: &Authority) -> Result<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let chain = tls.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(chain.first().context("no certificate")?.clone().into_owned())
}

async fn wait_shown(address: SocketAddr, authority: &Authority, pair: &Pair) -> Result<()> {
    wait::until("a new connection gets the new certificate", || async {
        Ok(shown(address, authority).await? == pair.der)
    })
    .await
}

/// A request without TLS: the listener closes, and says nothing that is HTTP.
async fn plain_is_closed(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: s3.test\r\nconnection: keep-alive\r\n\r\n").await?;
    let mut answer = Vec::new();
    // An end with a reset is an end; what was not read of the request makes one.
    let _ = tokio::time::timeout(wait::DEADLINE, stream.read_to_end(&mut answer))
        .await
        .context("the listener left a plain request hanging")?;
    ensure!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_s3_listener_takes_new_certificates_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "public")?;
    let first = authority.issue("s3", "127.0.0.1", 1)?;
    let tls = Tls { s3: Some(first.section()), ..Tls::default() };
    let cluster = Cluster::start(Options { tls, ..Options::default() }).await?;
    let data = &cluster.data[0];
    let pid = data.process.pid();
    let ca = std::fs::read(&authority.file)?;
    let connect = || s3::client_over_tls(data.s3, &ca, KEY, CALL);

    let old = connect()?;
    s3::put(&old, BUCKET, "before", body("before", 100_000)).await.expect("put");
    ensure!(shown(data.s3, &authority).await? == first.der);
    let stranger = std::fs::read(Authority::new(folder.path(), "stranger")?.file)?;
    let distrust = s3::client_over_tls(data.s3, &stranger, KEY, CALL)?;
    ensure!(s3::get(&distrust, BUCKET, "before").await.is_err_and(|failure| failure.status() == 0));

    let second = authority.issue("s3", "127.0.0.1", 2)?;
    data.process.signal(Signal::SIGHUP)?;
    wait_shown(data.s3, &authority, &second).await?;

    // A key that is another's, then no PEM at all: the pair that works stays.
    let refused = async |what: &str| {
        data.process.clear_log()?;
        data.process.signal(Signal::SIGHUP)?;
        wait::until(what, || async { Ok(data.process.output().contains("the new certificate is not used")) })
            .await?;
        ensure!(shown(data.s3, &authority).await? == second.der, "{what}");
        anyhow::Ok(())
    };
    let other = authority.issue("other", "127.0.0.1", 3)?;
    std::fs::copy(&other.key, &second.key)?;
    refused("a key that does not fit is refused").await?;
    std::fs::write(&second.cert, "nothing")?;
    refused("a file that is no certificate is refused").await?;

    // Nobody asks now: the files' times are enough.
    let third = authority.issue("s3", "127.0.0.1", 4)?;
    wait_shown(data.s3, &authority, &third).await?;
    let expected = body("before", 100_000);
    for client in [old, connect()?] {
        let (_, got) = s3::get(&client, BUCKET, "before").await.expect("get").expect("it exists");
        ensure!(got == expected);
    }
    s3::put(&connect()?, BUCKET, "after", body("after", 1000)).await.expect("put");
    ensure!(data.process.pid() == pid);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_to_tls_ports_hurt_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "all")?;
    let tls = Tls {
        s3: Some(authority.issue("s3", "127.0.0.1", 1)?.section()),
        grpc: Some(authority.issue("grpc", CONTROL, 2)?.section()),
        dial: Dial { ca: authority.file.clone(), pair: None, domain: CONTROL.into() },
    };
    let cluster = Cluster::start(Options { tls, ..Options::default() }).await?;
    let (s3_port, grpc_port) = (cluster.data[0].s3, cluster.control[0].grpc);
    let client = s3::client_over_tls(s3_port, &std::fs::read(&authority.file)?, KEY, CALL)?;
    // These never say a word, and keep a handshake waiting each.
    let silent = (TcpStream::connect(s3_port).await?, TcpStream::connect(grpc_port).await?);
    for round in 0..10 {
        plain_is_closed(s3_port).await?;
        plain_is_closed(grpc_port).await?;
        let key = format!("round/{round}");
        s3::put(&client, BUCKET, &key, body(&key, 2000)).await.expect("put");
    }
    drop(silent);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_data_plane_gets_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let servers = Authority::new(folder.path(), "servers")?;
    let clients = Authority::new(folder.path(), "clients")?;
    let stranger = Authority::new(folder.path(), "stranger")?;
    let mut grpc = servers.issue("grpc", CONTROL, 1)?.section();
    grpc["client_ca"] = json!(clients.file);
    let right = clients.issue("data", "data.test", 2)?;
    let dial = Dial { ca: servers.file.clone(), pair: Some((right.cert, right.key)), domain: CONTROL.into() };
    let tls = Tls { grpc: Some(grpc), dial: dial.clone(), ..Tls::default() };
    let cluster = Cluster::start(Options { tls, ..Options::default() }).await?;
    s3::put(&cluster.s3(0), BUCKET, "k", body("k", 50_000)).await.expect("put over mTLS");

    let foreign = stranger.issue("foreign", "data.test", 3)?;
    // Who dials how, with which token, and what its log must say.
    let cases = [
        ("nocert", Dial { pair: None, ..dial.clone() }, TOKEN, "CertificateRequired"),
        ("foreign", Dial { pair: Some((foreign.cert, foreign.key)), ..dial.clone() }, TOKEN, "UnknownCA"),
        ("distrusts", Dial { ca: stranger.file.clone(), ..dial.clone() }, TOKEN, "UnknownIssuer"),
        ("misnamed", Dial { domain: "other.test".into(), ..dial.clone() }, TOKEN, "not valid for name"),
        ("token", dial.clone(), "wrong", "the token is wrong"),
    ];
    let mut outside = Vec::new();
    for (name, dial, token, reason) in cases {
        let change = |file: &mut serde_json::Value| {
            file["tls"] = dial.section();
            file["token"] = json!(token);
        };
        outside.push((name, cluster.spawn_data_plane(name, None, change).await?, reason));
    }
    for (name, data, reason) in &mut outside {
        stays_outside(reason, data).await.with_context(|| format!("{name}: {}", data.process.output()))?;
    }
    let sql = cluster.sql().await?;
    // The control plane itself has one too, for its workers.
    let rows = sql.query("SELECT name FROM sessions ORDER BY name", &[]).await?;
    let sessions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    ensure!(sessions.contains(&"data0".to_owned()), "{sessions:?}");
    ensure!(outside.iter().all(|(name, ..)| !sessions.iter().any(|session| session == name)), "{sessions:?}");

    // What was refused had no part in the refusal of others: one more with all that is right gets in.
    let inside = cluster.spawn_data_plane("inside", None, |_| {}).await?;
    wait::ready(inside.http).await?;
    let client = s3::client(inside.s3, KEY.0, KEY.1, CALL);
    let (_, got) = s3::get(&client, BUCKET, "k").await.expect("get").expect("it exists");
    ensure!(got == body("k", 50_000));
    drop((outside, inside));
    cluster.finish().await
}

/// Refused again and again for `reason`, alive, not ready, and of no use to a client.
async fn stays_outside(reason: &str, data: &mut DataPlane) -> Result<()> {
    let (process, http) = (&data.process, data.http);
    wait::until("refusals", || async {
        let (status, answer) = wait::http_get(http, "/health/ready").await?;
        ensure!(status == 503, "ready says {status}: {answer}");
        let log = process.output();
        // A reset can overtake the alert that says why: not every refusal has the reason.
        Ok(log.matches("no stream to the control plane").count() >= REFUSALS && log.contains(reason))
    })
    .await?;
    ensure!(wait::http_get(http, "/health").await?.0 == 200, "it is not healthy");
    ensure!(wait::http_get(http, "/health/ready").await?.0 == 503, "it is ready");
    ensure!(!process.output().contains("session open"), "it has a session");
    let answer = s3::get(&s3::client(data.s3, KEY.0, KEY.1, CALL), BUCKET, "k").await;
    ensure!(answer.is_err(), "it served {answer:?}");
    data.process.check_alive()
}
