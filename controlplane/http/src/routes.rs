//! What is served where.

use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, web};

use crate::edge::RequestId;
use crate::failure::Failure;
use crate::{admin, auth, backend_probe, drains, probes, rebalance, reconcile, recover, removals, scrub};

/// All routes. A path that exists under another method answers 405.
pub(crate) fn add(config: &mut web::ServiceConfig) {
    let get = |path: &str| web::resource(path.to_owned()).default_service(web::to(wrong_method));
    let admin = web::scope("/admin/api")
        .wrap(from_fn(auth::require_token))
        .service(get("/status").route(web::get().to(admin::status)))
        .service(get("/workers").route(web::get().to(admin::workers)))
        .service(get("/workers/{name}/run").route(web::post().to(admin::run_worker)))
        .service(get("/drains").route(web::get().to(drains::all)))
        .service(get("/rebalance").route(web::post().to(rebalance::run)))
        .service(get("/scrub").route(web::post().to(scrub::object)))
        .service(
            get("/backends/{name}/drain")
                .route(web::post().to(drains::begin))
                .route(web::delete().to(drains::take_back)),
        )
        .service(get("/backends/{name}/probe").route(web::post().to(backend_probe::probe)))
        .service(get("/backends/{name}/removal").route(web::get().to(removals::preview)))
        .service(get("/backends/{name}").route(web::delete().to(removals::remove)))
        .service(
            get("/reconcile")
                .route(web::get().to(reconcile::runs))
                .route(web::post().to(reconcile::reconcile)),
        )
        .service(get("/recover").route(web::post().to(recover::recover)))
        .service(get("/sync").route(web::post().to(reconcile::sync)))
        .default_service(web::to(not_found));
    config
        .service(get("/health").route(web::get().to(probes::health)).route(web::head().to(probes::health)))
        .service(
            get("/health/ready").route(web::get().to(probes::ready)).route(web::head().to(probes::ready)),
        )
        .service(get("/metrics").route(web::get().to(probes::metrics)))
        .service(admin);
}

/// Nothing is served there.
pub(crate) async fn not_found(id: RequestId) -> Result<HttpResponse, Failure> {
    Err(Failure::new(404, "there is nothing here", &id))
}

async fn wrong_method(id: RequestId) -> Result<HttpResponse, Failure> {
    Err(Failure::new(405, "the method is not allowed here", &id))
}
