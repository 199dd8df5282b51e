//! `GET /metrics`, in Prometheus' text format.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Data;

use super::Health;

pub(super) async fn get(health: Data<Health>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4"))
        .insert_header(("cache-control", "no-store"))
        .body(health.metrics.render())
}
