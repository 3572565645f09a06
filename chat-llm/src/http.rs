//! The HTTP client: TLS, proxy, headers, address. The only file that sets up reqwest.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Proxy, Url, redirect};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::config::{ConfigError, OpenAiConfig, ProxyChoice};

/// The client of a backend.
pub(crate) fn client(config: &OpenAiConfig, url: &Url) -> Result<Client, ConfigError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls(url)?)
        .http1_only()
        // A redirect would carry the key to another address, or turn the POST into a GET.
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .user_agent(concat!("chat-llm/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers(config)?)
        .connect_timeout(config.timeouts.connect)
        // A peer that is gone without a word is noticed although the model may think for long.
        .tcp_keepalive(KEEP_ALIVE);
    let builder = match &config.proxy {
        ProxyChoice::Environment => builder,
        ProxyChoice::Direct => builder.no_proxy(),
        ProxyChoice::Url(url) => {
            builder.proxy(Proxy::all(url.as_str()).map_err(|_| ConfigError::Proxy)?)
        }
    };
    builder.build().map_err(|error| ConfigError::Tls(error.without_url().to_string()))
}

/// Where requests go: the base URL and `/chat/completions`, with the base's query.
pub(crate) fn endpoint(config: &OpenAiConfig) -> Result<Url, ConfigError> {
    let refused = |why: &str| ConfigError::BaseUrl(why.to_owned());
    let mut url =
        Url::parse(config.base_url.trim()).map_err(|error| refused(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it holds a user or a password; use the key or a header"));
    }
    url.set_fragment(None);
    let mut path = url.path_segments_mut().map_err(|()| refused("it has no path"))?;
    path.pop_if_empty().extend(["chat", "completions"]);
    drop(path);
    Ok(url)
}

/// What must never be shown.
pub(crate) fn secrets(config: &OpenAiConfig) -> Arc<[String]> {
    let headers = config.extra_headers.iter().map(|(_, value)| value.clone());
    let proxy = match &config.proxy {
        ProxyChoice::Url(url) => Url::parse(url).ok(),
        ProxyChoice::Environment | ProxyChoice::Direct => None,
    };
    let password = proxy.as_ref().and_then(Url::password).map(str::to_owned);
    // Short values are no secrets, and masking them would garble ordinary words.
    let secrets = headers.chain(config.api_key.clone()).chain(password);
    secrets.filter(|secret| secret.len() >= SHORTEST_SECRET).collect()
}

fn headers(config: &OpenAiConfig) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = &config.api_key {
        headers.insert(AUTHORIZATION, sensitive("authorization", &format!("Bearer {key}"))?);
    }
    if let Some(organization) = &config.organization {
        let name = HeaderName::from_static("openai-organization");
        headers.insert(name, sensitive("openai-organization", organization)?);
    }
    for (name, value) in &config.extra_headers {
        let parsed: HeaderName =
            name.parse().map_err(|_| ConfigError::Header(name.escape_debug().to_string()))?;
        headers.insert(parsed, sensitive(name, value)?);
    }
    Ok(headers)
}

fn sensitive(name: &str, value: &str) -> Result<HeaderValue, ConfigError> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| ConfigError::Header(name.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Certificates as the platform trusts them; on Linux `SSL_CERT_FILE` names others.
fn tls(url: &Url) -> Result<ClientConfig, ConfigError> {
    // Given by hand: a process-wide default is the host's to choose, and might not exist.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refused = |error: rustls::Error| ConfigError::Tls(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let mut tls = match builder.clone().with_platform_verifier() {
        Ok(builder) => builder.with_no_client_auth(),
        // A machine without certificates can still talk to a local server, which needs none.
        Err(_) if url.scheme() == "http" => {
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        }
        Err(error) => return Err(refused(error)),
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

const KEEP_ALIVE: Duration = Duration::from_secs(30);
const SHORTEST_SECRET: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<String, ConfigError> {
        endpoint(&OpenAiConfig::new("m").with_base_url(url)).map(Url::into)
    }

    #[test]
    fn the_path_is_appended_before_the_query() {
        let table = [
            ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("http://[::1]:80", "http://[::1]/chat/completions"),
            ("http://h/a?api-version=1#x", "http://h/a/chat/completions?api-version=1"),
        ];
        for (base, expected) in table {
            assert_eq!(of(base).as_deref(), Ok(expected), "{base}");
        }
    }

    #[test]
    fn addresses_that_cannot_or_must_not_be_used_are_refused() {
        for url in ["", "api.openai.com", "ftp://h/", "file:///etc", "https://u:p@h/v1"] {
            assert!(matches!(of(url), Err(ConfigError::BaseUrl(_))), "{url}");
        }
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused_without_their_value() {
        let url = Url::parse("http://h/").unwrap();
        let key = OpenAiConfig::new("m").with_api_key("secret\n");
        assert_eq!(client(&key, &url).err(), Some(ConfigError::Header("authorization".to_owned())));
        let header = OpenAiConfig::new("m").with_header("x-a", "secret\r\nx-b: 1");
        assert_eq!(client(&header, &url).err(), Some(ConfigError::Header("x-a".to_owned())));
        let proxy = OpenAiConfig::new("m").with_proxy(ProxyChoice::Url("::".to_owned()));
        assert_eq!(client(&proxy, &url).err(), Some(ConfigError::Proxy));
    }
}
