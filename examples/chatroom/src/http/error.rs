//! Refusals over HTTP: a status, and a body that the page shows to people.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chat_core::ports::StoreError;
use serde_json::json;

use crate::accounts::AccountError;
use crate::passwords::PasswordError;
use crate::sessions::SessionError;

const NOT_LOGGED_IN: &str = "not_logged_in";

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct HttpError {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<Duration>,
}

impl HttpError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(super) fn not_logged_in() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, NOT_LOGGED_IN, "Please log in.")
    }

    pub(super) fn is_not_logged_in(&self) -> bool {
        self.code == NOT_LOGGED_IN
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.")
    }

    pub(super) fn too_many(wait: Duration) -> Self {
        let message = format!("Too many tries. Please wait {} s.", wait.as_secs().max(1));
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", message);
        Self { retry_after: Some(wait), ..refusal }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        let mut response = (self.status, body).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<AccountError> for HttpError {
    fn from(error: AccountError) -> Self {
        let message = error.to_string();
        let invalid = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message.as_str());
        match error {
            AccountError::BadName => invalid("bad_name"),
            AccountError::ShortPassword
            | AccountError::LongPassword
            | AccountError::PasswordIsName => invalid("bad_password"),
            AccountError::NameTaken => Self::new(StatusCode::CONFLICT, "name_taken", message),
            AccountError::WrongNameOrPassword => {
                Self::new(StatusCode::UNAUTHORIZED, "wrong_name_or_password", message)
            }
            AccountError::Password(PasswordError::Busy) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too many people log in at this moment. Please try again.",
            ),
            AccountError::Password(PasswordError::Failed) => internal(&error),
            AccountError::Store(error) => error.into(),
        }
    }
}

impl From<SessionError> for HttpError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NoRandomness => internal(&error),
            SessionError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a request");
        let message = "The server cannot reach its data at this moment. Please try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

fn internal(error: &dyn std::error::Error) -> HttpError {
    tracing::error!(%error, "a request failed");
    let message = "Something went wrong on the server.";
    HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
}
