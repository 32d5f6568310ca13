//! Each endpoint over a real socket: answers, authentication, panics, ids, and an orderly end.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as tests do")]

mod fixture;
mod http_admin;
mod http_edge;
mod known_admin;
