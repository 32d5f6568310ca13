//! HTTP around `s3s`: listeners, admission, request ids, the audit line, panics.

mod cors;
mod dates;
mod documents;
pub(crate) mod drain;
pub(crate) mod errors;
mod external;
mod hoisted;
mod lines;
mod progress;
mod ranges;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod settled;
mod signing;
mod subresources;

#[cfg(test)]
mod fuzz;
