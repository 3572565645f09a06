//! Who calls: from which address, from which page, in whose session.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::error::HttpError;
use crate::sessions::Session;
use crate::site::Site;
use crate::throttle::visitor;

/// The call comes from the room's own page, or from no page at all.
///
/// A browser adds `Origin` to every call that could change something; a page elsewhere cannot
/// leave it out or forge it.
#[derive(Debug)]
pub(crate) struct SameOrigin {
    /// Whether the caller named a page.
    pub(crate) named: bool,
}

impl FromRequestParts<Arc<Site>> for SameOrigin {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, HttpError> {
        let Some(origin) = parts.headers.get(header::ORIGIN) else {
            return Ok(Self { named: false });
        };
        let origin = origin.to_str().unwrap_or_default();
        let allowed = match &site.public_url {
            Some(url) => origin == url.origin(),
            None => is_own(origin, &parts.headers),
        };
        let message = "This page is not served from here.";
        let refusal = || HttpError::new(StatusCode::FORBIDDEN, "wrong_origin", message);
        allowed.then_some(Self { named: true }).ok_or_else(refusal)
    }
}

/// Without a public URL, the page's host is the one that the call was made to.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !host.is_empty() && page.is_some_and(|page| page.eq_ignore_ascii_case(host))
}

/// Somebody with a session that holds.
#[derive(Debug)]
pub(crate) struct LoggedIn(pub(crate) Session);

impl FromRequestParts<Arc<Site>> for LoggedIn {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, HttpError> {
        let token = session_token(&parts.headers, site.cookie());
        let token = token.ok_or_else(HttpError::not_logged_in)?;
        site.sessions.find(token).await?.map(Self).ok_or_else(HttpError::not_logged_in)
    }
}

fn session_token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// What tries are counted by.
#[derive(Debug)]
pub(super) struct Visitor(pub(super) u64);

impl FromRequestParts<Arc<Site>> for Visitor {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, HttpError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
        let told = site.trust_proxy.then(|| forwarded_for(&parts.headers)).flatten();
        Ok(Self(visitor(told.unwrap_or(peer))))
    }
}

/// The last entry is the one that the proxy next to us wrote; what stands before it, anybody may
/// have sent.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let pairs =
            values.iter().map(|value| (name.parse().unwrap(), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn a_page_is_own_only_if_host_and_port_are_the_ones_called() {
        let called = headers("host", &["localhost:8080"]);
        assert!(is_own("http://localhost:8080", &called));
        assert!(is_own("https://LOCALHOST:8080", &called));
        for other in [
            "http://localhost",
            "http://localhost:8081",
            "null",
            "",
            "http://localhost:8080.evil.example",
        ] {
            assert!(!is_own(other, &called), "{other}");
        }
        assert!(!is_own("http://", &headers("host", &[""])));
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let sent = headers("cookie", &["a=1; chatroom=t0", "b=2"]);
        assert_eq!(session_token(&sent, "chatroom"), Some("t0"));
        assert_eq!(session_token(&headers("cookie", &["xchatroom=t0"]), "chatroom"), None);
    }

    #[test]
    fn a_proxy_is_believed_in_its_own_entry_only() {
        let forwarded = headers("x-forwarded-for", &["203.0.113.9, 198.51.100.7"]);
        assert_eq!(forwarded_for(&forwarded), Some("198.51.100.7".parse().unwrap()));
        assert_eq!(forwarded_for(&headers("x-forwarded-for", &["unknown"])), None);
    }
}
