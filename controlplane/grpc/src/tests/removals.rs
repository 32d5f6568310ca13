//! A backend is given up only by who has seen what that would do, and soon after.

use async_trait::async_trait;
use s3o_core::ports::{PortError, Removals};
use s3o_core::removal::{
    HeldCopy, NotRemoved, Removal, RemovalMode, RemovalOrder, RemovalPreview, RemovalSeen,
};
use s3o_core::upload::UploadRow;
use s3o_proto::v1;
use s3o_types::{BackendId, Extent, Place, Seq, VersionId};
use tonic::Code;

use super::Plane;
use super::admin::admin;
use super::fakes::Fakes;
use crate::status::fields;

const NOW_US: i64 = 1_700_000_000_000_000;
const SEEN: RemovalSeen =
    RemovalSeen { now_us: NOW_US, drained_us: 12, place: Place::FIRST, log_head: Seq(77) };

#[async_trait]
impl Removals for Fakes {
    async fn preview_removal(&self, name: &str) -> Result<Result<RemovalPreview, NotRemoved>, PortError> {
        Ok(match name {
            "b3" => Ok(RemovalPreview {
                backend: BackendId(3),
                name: name.to_owned(),
                objects: 4,
                bytes: 50,
                imported: 1,
                last_copies: 2,
                uploads: 3,
                seen: SEEN,
            }),
            "active" => Err(NotRemoved::NotDrained),
            _ => Err(NotRemoved::Unknown),
        })
    }

    /// The second comes too late.
    async fn remove(&self, name: &str, order: RemovalOrder) -> Result<Result<(), NotRemoved>, PortError> {
        if name != "b3" {
            return Ok(Err(NotRemoved::Unknown));
        }
        let mut removed = self.removed.lock().unwrap();
        removed.push(order);
        Ok(if removed.len() == 1 { Ok(()) } else { Err(NotRemoved::Expired) })
    }

    async fn removals(&self) -> Result<Vec<(BackendId, Removal)>, PortError> {
        Ok(vec![])
    }

    async fn held_copies(
        &self,
        _: BackendId,
        _: Option<(VersionId, Extent)>,
        _: u32,
    ) -> Result<Vec<HeldCopy>, PortError> {
        Ok(vec![])
    }

    async fn uploads_on(&self, _: BackendId, _: u32) -> Result<Vec<UploadRow>, PortError> {
        Ok(vec![])
    }

    async fn forget_queued(&self, _: BackendId, _: u32) -> Result<u64, PortError> {
        Ok(0)
    }
}

fn wish(name: &str, mode: &str) -> v1::PreviewRemovalRequest {
    v1::PreviewRemovalRequest { name: name.to_owned(), mode: mode.to_owned(), accept_losses: true }
}

#[tokio::test]
async fn the_preview_gives_what_the_order_needs() {
    let plane = Plane::start().await;
    let mut client = admin(&plane, "admin-token");
    let preview = client.preview_removal(wish("b3", "purge")).await.unwrap().into_inner();
    assert_eq!((preview.objects, preview.bytes, preview.imported), (4, 50, 1));
    assert_eq!((preview.last_copies, preview.uploads, preview.confirm_within_s), (2, 3, 60));
    let order = |name: &str, confirmation: &str| v1::RemoveBackendRequest {
        name: name.to_owned(),
        confirmation: confirmation.to_owned(),
    };
    for (name, confirmation, code) in [
        ("other", preview.confirmation.clone(), Code::NotFound),
        ("b3", preview.confirmation.replace("purge", "forget"), Code::InvalidArgument),
        ("b3", String::new(), Code::InvalidArgument),
    ] {
        let status = client.remove_backend(order(name, &confirmation)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
    }
    assert!(plane.fakes.removed.lock().unwrap().is_empty());

    let mut progress = client.remove_backend(order("b3", &preview.confirmation)).await.unwrap().into_inner();
    assert_eq!(progress.message().await.unwrap().unwrap().name, "b3");
    let removal = Removal { mode: RemovalMode::Purge, losses_upto: Some(Seq(77)) };
    let (drained_us, until_us) = (12, NOW_US + 60_000_000);
    let expected = RemovalOrder { backend: BackendId(3), removal, drained_us, place: Place::FIRST, until_us };
    assert_eq!(*plane.fakes.removed.lock().unwrap(), [expected]);
    let late = client.remove_backend(order("b3", &preview.confirmation)).await.unwrap_err();
    assert_eq!((late.code(), fields(&late)), (Code::FailedPrecondition, vec!["confirmation".to_owned()]));
}

#[tokio::test]
async fn what_cannot_be_given_up_is_said() {
    let plane = Plane::start().await;
    let mut client = admin(&plane, "admin-token");
    for (name, mode, code, field) in [
        ("nobody", "purge", Code::NotFound, "name"),
        ("active", "forget", Code::FailedPrecondition, "name"),
        ("b3", "burn", Code::InvalidArgument, "mode"),
    ] {
        let status = client.preview_removal(wish(name, mode)).await.unwrap_err();
        assert_eq!((status.code(), fields(&status)), (code, vec![field.to_owned()]), "{status:?}");
    }
}
