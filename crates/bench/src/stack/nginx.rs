//! nginx as a plain reverse proxy, set up to be as fast as it can be: what a proxy must cost at least.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::procs::{Child, binary, free_port, wait_for_port};

/// Bodies stream in both directions, connections are kept on both sides, nothing is logged or written.
fn config(folder: &str, listen: SocketAddr, backend: SocketAddr) -> String {
    format!(
        r"daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    upstream backend {{
        server {backend};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {listen} backlog=4096;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_buffer_size 64k;
            proxy_buffers 16 256k;
            proxy_busy_buffers_size 512k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"
    )
}

/// Starts it in front of `backend`.
pub(super) async fn start(folder: &Path, backend: SocketAddr) -> Result<(Child, SocketAddr)> {
    let program = binary("nginx", None)
        .context("nginx is one of the targets; `make bench` installs it (or leave it out: --no-nginx)")?;
    let listen = free_port()?;
    let text = folder.to_str().context("the data folder is not UTF-8")?;
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config(text, listen, backend))?;
    let file = file.to_str().context("the data folder is not UTF-8")?;
    let child = Child::start("nginx", &program, &["-p", text, "-c", file], &folder.join("nginx.log"))?;
    wait_for_port(listen, &child).await?;
    Ok((child, listen))
}
