//! The page, as it stands in `web/`: plain files, put into the binary when it is compiled.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::random;
use crate::site::Site;

/// Its address, its type, its bytes.
type Asset = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const ASSETS: [Asset; 17] = [
    ("/", HTML, include_str!("../../web/index.html")),
    ("/style.css", CSS, include_str!("../../web/style.css")),
    ("/favicon.svg", SVG, include_str!("../../web/favicon.svg")),
    ("/app.js", SCRIPT, include_str!("../../web/app.js")),
    ("/composer.js", SCRIPT, include_str!("../../web/composer.js")),
    ("/conversation.js", SCRIPT, include_str!("../../web/conversation.js")),
    ("/dialog.js", SCRIPT, include_str!("../../web/dialog.js")),
    ("/dom.js", SCRIPT, include_str!("../../web/dom.js")),
    ("/format.js", SCRIPT, include_str!("../../web/format.js")),
    ("/login.js", SCRIPT, include_str!("../../web/login.js")),
    ("/members.js", SCRIPT, include_str!("../../web/members.js")),
    ("/model.js", SCRIPT, include_str!("../../web/model.js")),
    ("/net.js", SCRIPT, include_str!("../../web/net.js")),
    ("/outbox.js", SCRIPT, include_str!("../../web/outbox.js")),
    ("/sidebar.js", SCRIPT, include_str!("../../web/sidebar.js")),
    ("/text.js", SCRIPT, include_str!("../../web/text.js")),
    ("/timeline.js", SCRIPT, include_str!("../../web/timeline.js")),
];

/// One route for each file.
pub(super) fn routes() -> Router<Arc<Site>> {
    ASSETS.into_iter().fold(Router::new(), |router, (path, content_type, content)| {
        let tag = format!("\"{}\"", random::digest(content).get(..32).unwrap_or_default());
        router.route(
            path,
            get(async move |headers: HeaderMap| serve(&headers, &tag, content_type, content)),
        )
    })
}

/// A browser asks each time whether its copy is still the newest: the addresses carry no version.
fn serve(
    asked: &HeaderMap,
    tag: &str,
    content_type: &'static str,
    content: &'static str,
) -> Response {
    let cache = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, HeaderValue::from_str(tag).unwrap_or(HeaderValue::from_static("\"\""))),
    ];
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|known| known.trim().ends_with(tag))) {
        return (StatusCode::NOT_MODIFIED, cache).into_response();
    }
    (cache, [(header::CONTENT_TYPE, content_type)], content).into_response()
}
