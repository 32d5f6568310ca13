//! HTTP around `s3s`: listeners, admission, request ids, the audit line, panics.

mod cors;
mod documents;
pub(crate) mod drain;
pub(crate) mod errors;
mod external;
mod progress;
mod ranges;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod server;
pub(crate) mod service;
mod signing;
mod subresources;

#[cfg(test)]
mod fuzz;
