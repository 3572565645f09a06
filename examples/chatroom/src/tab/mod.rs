//! One tab of one browser: a WebSocket that follows chats and carries commands both ways.
//!
//! `protocol` is what is said, `commands` carries out what is asked, `connection` is the life of
//! the socket, `view` how the engine's answers look.

mod commands;
mod connection;
mod failure;
mod follow;
mod protocol;
mod view;

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::{HttpError, LoggedIn, SameOrigin};
use crate::site::Site;

/// The greatest message that a browser may send: the longest text, with each character escaped.
const MOST_MESSAGE_BYTES: usize = 128 << 10;

/// Opens the WebSocket, for somebody who is logged in, on the room's own page.
pub(crate) async fn upgrade(
    State(site): State<Arc<Site>>,
    origin: SameOrigin,
    LoggedIn(session): LoggedIn,
    socket: WebSocketUpgrade,
) -> Result<Response, HttpError> {
    if !origin.named {
        let message = "A WebSocket needs the header Origin.";
        return Err(HttpError::new(StatusCode::FORBIDDEN, "wrong_origin", message));
    }
    let Some(permit) = site.admit(&session.user) else {
        let message = "Too many tabs are open.";
        return Err(HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_tabs", message));
    };
    let socket = socket.max_message_size(MOST_MESSAGE_BYTES).max_frame_size(MOST_MESSAGE_BYTES);
    Ok(socket.on_upgrade(move |socket| async move {
        connection::run(site, session, socket).await;
        drop(permit);
    }))
}
