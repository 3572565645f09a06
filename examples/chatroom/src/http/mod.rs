//! What the room answers over plain HTTP: the page's files, and logging in and out.

mod api;
mod assets;
mod error;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Response, header};
use axum::middleware::map_response;
use axum::routing::{get, post};

pub(crate) use error::HttpError;
pub(crate) use visitor::{LoggedIn, SameOrigin};

use crate::site::Site;
use crate::tab;

/// The greatest body that any call takes: a name and a password.
const MOST_BODY_BYTES: usize = 8 << 10;

/// Nothing from elsewhere, nothing inline, in no frame: what somebody writes has no way to run.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; \
     base-uri 'none'";

/// Every address of the room.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let api = Router::new()
        .route("/api/me", get(api::me))
        .route("/api/register", post(api::register))
        .route("/api/login", post(api::login))
        .route("/api/logout", post(api::logout))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES));
    assets::routes()
        .merge(api)
        .route("/ws", get(tab::upgrade))
        .fallback(async || HttpError::not_found())
        .layer(map_response(async |response| with_headers(response)))
        .with_state(site)
}

fn with_headers<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}
