//! Backends that are given up, as REST: a preview with a confirmation, then the order.

use actix_web::{HttpRequest, HttpResponse, web};
use s3o_proto::v1;
use serde::{Deserialize, Serialize};

use crate::admin::{Answer, asked};
use crate::drains::accepted;
use crate::edge::RequestId;
use crate::failure::Failure;
use crate::reconcile::query;
use crate::server::State;

/// What is to become of the bytes there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    mode: String,
    #[serde(default)]
    accept_losses: bool,
}

/// What the preview gave. Not in the query: that is what access logs keep.
const CONFIRMATION: &str = "x-s3o-confirmation";

#[derive(Serialize)]
struct Preview {
    name: String,
    mode: String,
    accept_losses: bool,
    objects: u64,
    bytes: u64,
    imported: u64,
    last_copies: u64,
    uploads: u64,
    confirmation: String,
    confirm_within_s: u64,
}

impl From<v1::RemovalPreview> for Preview {
    fn from(preview: v1::RemovalPreview) -> Self {
        let v1::RemovalPreview {
            name,
            mode,
            accept_losses,
            objects,
            bytes,
            imported,
            last_copies,
            uploads,
            confirmation,
            confirm_within_s,
        } = preview;
        Self {
            name,
            mode,
            accept_losses,
            objects,
            bytes,
            imported,
            last_copies,
            uploads,
            confirmation,
            confirm_within_s,
        }
    }
}

/// `GET /admin/api/backends/{name}/removal?mode=forget|purge[&accept_losses=true]`.
pub(crate) async fn preview(
    state: web::Data<State>,
    id: RequestId,
    name: web::Path<String>,
    request: HttpRequest,
) -> Answer {
    let mut admin = state.deps.admin.clone();
    let Wish { mode, accept_losses } = query(&request, &id)?;
    let request = v1::PreviewRemovalRequest { name: name.into_inner(), mode, accept_losses };
    // It counts for as long as the backend has objects.
    let preview = admin.preview_removal(request).await.map_err(|error| Failure::of_status(&error, &id))?;
    Ok(HttpResponse::Ok().json(Preview::from(preview.into_inner())))
}

/// `DELETE /admin/api/backends/{name}` with `X-S3O-Confirmation`: 202, with how far it is.
pub(crate) async fn remove(
    state: web::Data<State>,
    id: RequestId,
    name: web::Path<String>,
    request: HttpRequest,
) -> Answer {
    let given = request.headers().get(CONFIRMATION).and_then(|value| value.to_str().ok());
    let missing = "the header X-S3O-Confirmation is missing: GET …/removal gives what belongs there";
    let confirmation = given.ok_or_else(|| Failure::new(400, missing, &id))?.to_owned();
    let mut admin = state.deps.admin.clone();
    let request = v1::RemoveBackendRequest { name: name.into_inner(), confirmation };
    let progress = asked(admin.remove_backend(request), &id).await?;
    accepted(progress, &id).await
}
