//! What can be set from outside: by flags, or by the environment.

use std::fmt;
use std::str::FromStr;

use clap::Parser;
use tracing_subscriber::filter::Targets;

/// Serves a chat room in the browser.
///
/// People register, enter rooms and talk; everything is kept in one database. Several processes may
/// serve one room from the same database. The participant "assistant" answers when it is mentioned.
#[derive(Debug, Clone, Parser)]
#[command(name = "chatroom", version, args_override_self = true)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "CHATROOM_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// Where the data is, such as sqlite:FILE, or memory: to keep nothing. What else this program
    /// was built with is named when a URL does not fit. A password is safer in the environment,
    /// as others on this computer can see the flags.
    #[arg(
        long,
        env = "CHATROOM_DATABASE",
        value_name = "URL",
        default_value = "sqlite:chatroom.db",
        hide_env_values = true
    )]
    pub database: Secret,

    /// The address that people type, if a proxy stands before this server. Browsers may then
    /// connect from there only; with https the session cookie is for https only.
    #[arg(long, env = "CHATROOM_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Take the addresses of visitors from the last entry of X-Forwarded-For. Only behind a proxy
    /// that sets it.
    #[arg(long, env = "CHATROOM_TRUST_PROXY")]
    pub trust_proxy: bool,

    /// Key for the model behind "assistant". Without it, "assistant" says that it is offline.
    #[arg(long, env = "OPENAI_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub openai_api_key: Option<Secret>,

    /// Where the model is served, if not at OpenAI: any server that speaks its chat completions.
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub openai_base_url: Option<String>,

    /// Which model answers. Has to be given with --openai-base-url.
    #[arg(long, env = "OPENAI_MODEL", value_name = "NAME")]
    pub openai_model: Option<String>,

    /// What to log to the standard error, such as "warn" or "info,chatroom=debug". Never holds
    /// what people write.
    #[arg(long, env = "CHATROOM_LOG", value_name = "FILTER", default_value = "info")]
    pub log: Targets,
}

impl Config {
    /// The defaults with a free port and nothing kept: for tests. Reads no environment.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            database: Secret("memory:".into()),
            public_url: None,
            trust_proxy: false,
            openai_api_key: None,
            openai_base_url: None,
            openai_model: None,
            log: Targets::new(),
        }
    }

    /// The same with another database.
    #[must_use]
    pub fn with_database(self, url: impl Into<String>) -> Self {
        Self { database: Secret(url.into()), ..self }
    }

    /// The same behind a public address.
    #[must_use]
    pub fn with_public_url(self, url: PublicUrl) -> Self {
        Self { public_url: Some(url), ..self }
    }
}

/// The origin under which browsers reach the server, such as `https://chat.example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Scheme, host and port, as a browser writes them in the `Origin` header.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0
    }

    /// Whether it is reached by https.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let url = url.trim_end_matches('/').to_ascii_lowercase();
        let (host, default_port) = if let Some(host) = url.strip_prefix("https://") {
            (host, ":443")
        } else if let Some(host) = url.strip_prefix("http://") {
            (host, ":80")
        } else {
            return Err("expected http:// or https://".into());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if host.is_empty() || !host.chars().all(plain) {
            return Err("expected a host with an optional port and no path".into());
        }
        // A browser leaves the default port out.
        Ok(Self(url.strip_suffix(default_port).unwrap_or(&url).to_owned()))
    }
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_are_well_formed() {
        Config::command().debug_assert();
    }

    #[test]
    fn a_public_url_is_an_origin_without_the_default_port() {
        let origin = |url: &str| url.parse::<PublicUrl>().map(|url| url.origin().to_owned());
        assert_eq!(origin("https://Chat.example.org/"), Ok("https://chat.example.org".into()));
        assert_eq!(origin("https://chat.example.org:443"), Ok("https://chat.example.org".into()));
        assert_eq!(origin("http://[::1]:8080"), Ok("http://[::1]:8080".into()));
        for wrong in ["chat.example.org", "https://", "https://a/b", "ftp://a", "https://a b"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let config = Config { openai_api_key: Some(Secret("sk-1".into())), ..Config::in_memory() };
        let config = config.with_database("postgres://ann:hunter2@db/chat");
        let shown = format!("{config:?}");
        assert!(!shown.contains("sk-1") && !shown.contains("hunter2"), "{shown}");
    }
}
