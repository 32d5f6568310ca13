//! Who may use the admin API: whoever has the token.
//!
//! Invariant: without the token nothing under `/admin/api` is reached, not even the word that a path
//! does not exist; comparing takes the same time for every wrong token of the right length.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::edge::RequestId;
use crate::failure::Failure;
use crate::server::State;

const ADMIN_TOKEN: &str = "x-admin-token";

/// The middleware.
pub(crate) async fn require_token<B: MessageBody + 'static>(
    state: web::Data<State>,
    id: RequestId,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let expected = state.admin_token.as_ref().filter(|token| !token.expose().is_empty());
    let Some(expected) = expected else {
        return Err(Failure::new(403, "no admin token is configured, so this API is closed", &id).into());
    };
    let Some(given) = request.headers().get(ADMIN_TOKEN) else {
        return Err(Failure::new(401, "the header X-Admin-Token is missing", &id).into());
    };
    verify_slices_are_equal(given.as_bytes(), expected.expose().as_bytes())
        .map_err(|_| Failure::new(401, "the admin token is wrong", &id))?;
    next.call(request).await
}
