//! Registering, logging in and out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chat_core::UserId;
use serde::Deserialize;
use serde_json::json;

use super::error::HttpError;
use super::visitor::{LoggedIn, SameOrigin, Visitor};
use crate::sessions::LIFETIME;
use crate::site::Site;

#[derive(Deserialize)]
pub(super) struct Credentials {
    name: String,
    password: String,
}

/// Who is logged in here; nobody is an answer too.
pub(super) async fn me(logged_in: Result<LoggedIn, HttpError>) -> Result<Response, HttpError> {
    let user = match logged_in {
        Ok(LoggedIn(session)) => Some(session.user),
        Err(error) if error.is_not_logged_in() => None,
        Err(error) => return Err(error),
    };
    Ok(Json(json!({ "user": user })).into_response())
}

pub(super) async fn register(
    State(site): State<Arc<Site>>,
    _: SameOrigin,
    Visitor(visitor): Visitor,
    body: Result<Json<Credentials>, JsonRejection>,
) -> Result<Response, HttpError> {
    let Credentials { name, password } = credentials(body)?;
    site.registrations.take(visitor).map_err(HttpError::too_many)?;
    let user = site.accounts.register(&name, password).await?;
    site.welcome(&user).await;
    enter(&site, StatusCode::CREATED, user).await
}

pub(super) async fn login(
    State(site): State<Arc<Site>>,
    _: SameOrigin,
    Visitor(visitor): Visitor,
    body: Result<Json<Credentials>, JsonRejection>,
) -> Result<Response, HttpError> {
    let Credentials { name, password } = credentials(body)?;
    site.logins_by_visitor.take(visitor).map_err(HttpError::too_many)?;
    // Counted for names that do not exist as well: the answer must not tell them apart.
    site.logins_by_name.take(&name).map_err(HttpError::too_many)?;
    let user = site.accounts.check(&name, password).await?;
    enter(&site, StatusCode::OK, user).await
}

pub(super) async fn logout(
    State(site): State<Arc<Site>>,
    _: SameOrigin,
    logged_in: Result<LoggedIn, HttpError>,
) -> Result<Response, HttpError> {
    match logged_in {
        Ok(LoggedIn(session)) => site.sessions.close(&session).await?,
        // Who is not logged in has nothing to do, and is told the same.
        Err(error) if error.is_not_logged_in() => {}
        Err(error) => return Err(error),
    }
    let gone = cookie(&site, "", 0)?;
    Ok((StatusCode::OK, [(header::SET_COOKIE, gone)], Json(json!({}))).into_response())
}

fn credentials(body: Result<Json<Credentials>, JsonRejection>) -> Result<Credentials, HttpError> {
    let refusal = |rejection: JsonRejection| {
        HttpError::new(rejection.status(), "bad_request", "Expected a name and a password as JSON.")
    };
    body.map(|Json(credentials)| credentials).map_err(refusal)
}

async fn enter(site: &Site, status: StatusCode, user: UserId) -> Result<Response, HttpError> {
    let token = site.sessions.open(user.clone()).await?;
    let cookie = cookie(site, &token, LIFETIME.as_secs())?;
    Ok((status, [(header::SET_COOKIE, cookie)], Json(json!({ "user": user }))).into_response())
}

/// Out of reach of scripts, and sent along only with calls that come from the room's own page.
fn cookie(site: &Site, token: &str, seconds: u64) -> Result<HeaderValue, HttpError> {
    let name = site.cookie();
    let secure = if site.is_secure() { "; Secure" } else { "" };
    let text =
        format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let failed = |_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "No session.");
    HeaderValue::try_from(text).map_err(failed)
}
