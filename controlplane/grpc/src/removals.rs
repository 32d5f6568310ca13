//! Backends that are given up: a preview with a confirmation, then the order.

use std::time::Duration;

use s3o_core::removal::{NotRemoved, Removal, RemovalMode, RemovalOrder, RemovalPreview, RemovalSeen};
use s3o_proto::v1;
use s3o_runtime::audit;
use tonic::{Code, Status};

use crate::status::{about_field, bad_request, port_failed};
use crate::wiring::Wiring;

/// How long a confirmation counts: as long as somebody remembers what the preview said.
const COUNTS_FOR: Duration = Duration::from_mins(1);

fn refused(name: &str, why: NotRemoved) -> Status {
    match why {
        NotRemoved::Unknown => about_field(Code::NotFound, "name", &format!("there is no backend `{name}`")),
        NotRemoved::NotDrained => about_field(
            Code::FailedPrecondition,
            "name",
            &format!("`{name}` still takes objects: drain it first, which moves what can be moved"),
        ),
        NotRemoved::Expired => about_field(
            Code::FailedPrecondition,
            "confirmation",
            &format!(
                "is older than {} s, or the backend was changed since: look at the preview again",
                COUNTS_FOR.as_secs()
            ),
        ),
    }
}

/// Says what giving a backend up would do, and gives a confirmation for exactly that.
pub(crate) async fn preview(
    wiring: &Wiring,
    request: v1::PreviewRemovalRequest,
) -> Result<v1::RemovalPreview, Status> {
    let v1::PreviewRemovalRequest { name, mode, accept_losses } = request;
    let mode: RemovalMode = mode.parse().map_err(|why: String| bad_request("mode", &why))?;
    let ports = wiring.ports()?;
    let looked = ports.removals.preview_removal(&name).await.map_err(|error| port_failed(&error))?;
    let preview = looked.map_err(|why| refused(&name, why))?;
    let RemovalPreview { backend, name, objects, bytes, imported, last_copies, uploads, seen } = preview;
    let RemovalSeen { now_us, drained_us, place, log_head } = seen;
    let until_us = now_us + i64::try_from(COUNTS_FOR.as_micros()).unwrap_or(i64::MAX);
    let removal = Removal { mode, losses_upto: accept_losses.then_some(log_head) };
    let order = RemovalOrder { backend, removal, drained_us, place, until_us };
    let cluster = ports.configs.current().cluster;
    Ok(v1::RemovalPreview {
        name,
        mode: mode.as_str().to_owned(),
        accept_losses,
        objects,
        bytes,
        imported,
        last_copies,
        uploads,
        confirmation: wiring.confirmations.issue(cluster, order),
        confirm_within_s: COUNTS_FOR.as_secs(),
    })
}

/// Gives up what a confirmation says; the name of the backend, whose progress is that of its drain.
pub(crate) async fn remove(wiring: &Wiring, request: v1::RemoveBackendRequest) -> Result<String, Status> {
    let v1::RemoveBackendRequest { name, confirmation } = request;
    let ports = wiring.ports()?;
    let config = ports.configs.current();
    let order = wiring.confirmations.read(config.cluster, &confirmation)?;
    // Before it is done: whether its answer comes or not, somebody wanted it.
    let (mode, losses_upto) = (order.removal.mode.as_str(), order.removal.losses_upto.map(|seq| seq.0));
    audit!("backend.remove", backend = %name, mode, losses_upto);
    let done = ports.removals.remove(&name, order).await.map_err(|error| port_failed(&error))?;
    done.map_err(|why| refused(&name, why))?;
    Ok(name)
}
