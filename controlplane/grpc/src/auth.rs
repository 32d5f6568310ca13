//! The shared tokens: one for data planes, one for admin clients.
//!
//! Invariant: without the right token no service is reached, and comparing takes the same time for
//! every wrong one of the right length.

use s3o_types::Secret;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Lets calls through that carry the token.
#[derive(Clone)]
pub(crate) struct Bearer {
    /// `None`: the service is closed.
    token: Option<Secret>,
}

impl Bearer {
    pub(crate) fn new(token: Option<Secret>) -> Self {
        Self { token: token.filter(|token| !token.expose().is_empty()) }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.token else {
            return Err(Status::unauthenticated("this service has no token configured and is closed"));
        };
        let given = request.metadata().get(s3o_proto::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(Status::unauthenticated("`authorization: Bearer {token}` is missing"));
        };
        aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), expected.expose().as_bytes())
            .map_err(|_| Status::unauthenticated("the token is wrong"))?;
        Ok(request)
    }
}
