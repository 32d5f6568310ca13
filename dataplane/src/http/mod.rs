//! HTTP around `s3s`: listeners, admission, request ids, the audit line, panics.

mod cors;
mod dates;
pub(crate) mod document;
mod documents;
pub(crate) mod drain;
pub(crate) mod errors;
mod external;
mod hoisted;
mod late;
mod lines;
mod linger;
mod progress;
pub(crate) mod queries;
mod ranges;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod settled;
mod signing;
mod subresources;
mod words;
pub(crate) mod xml;

#[cfg(test)]
mod fuzz;
