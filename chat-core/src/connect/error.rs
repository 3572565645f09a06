//! Why a URL did not become a store.

use std::fmt;
use std::sync::Arc;

use super::url::{InvalidUrl, StoreUrl};
use crate::ports::StoreError;

/// Why a store was not opened. Shows no password, as far as the adapter's own errors hold none.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is not a URL.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// Nobody has this scheme.
    #[error("there is no store with the scheme `{scheme}:`; this program has {available}")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
        /// What there is.
        available: Schemes,
    },
    /// The scheme is known, but its adapter is not in this program.
    #[error("`{scheme}:` needs {home}, which this program was built without; it has {available}")]
    NotCompiledIn {
        /// The scheme.
        scheme: String,
        /// The crate and feature that would bring it.
        home: Home,
        /// What there is.
        available: Schemes,
    },
    /// The adapter cannot use the URL.
    #[error("the store's URL {url} is wrong")]
    Config {
        /// The URL.
        url: StoreUrl,
        /// What is wrong with it.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// There is a server, but as it is set up it cannot carry what the URL asks for.
    #[error("the store {url} is not fit for this")]
    Unfit {
        /// The URL.
        url: StoreUrl,
        /// What is missing, and how to mend it.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store cannot be opened.
    #[error("the store {url} cannot be opened")]
    Store {
        /// The URL.
        url: StoreUrl,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

impl OpenError {
    /// The URL is wrong: what an adapter says of its configuration.
    pub fn config(url: &StoreUrl, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Config { url: url.clone(), source: Arc::new(source) }
    }

    /// The server is not fit: what an adapter says when it has looked at the server's settings.
    pub fn unfit(url: &StoreUrl, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unfit { url: url.clone(), source: Arc::new(source) }
    }

    /// The store does not open: what an adapter says when it has tried.
    #[must_use]
    pub fn store(url: &StoreUrl, source: StoreError) -> Self {
        Self::Store { url: url.clone(), source }
    }

    /// Whether the same URL may open later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retryable(),
            Self::Url(_)
            | Self::UnknownScheme { .. }
            | Self::NotCompiledIn { .. }
            | Self::Config { .. }
            | Self::Unfit { .. } => false,
        }
    }
}

/// The schemes that a program can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemes(pub Vec<&'static str>);

impl fmt::Display for Schemes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scheme) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{scheme}:`")?;
        }
        Ok(())
    }
}

/// Which crate has the adapter for a scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Home {
    /// The crate.
    pub package: &'static str,
    /// Its feature, if it takes one.
    pub feature: Option<&'static str>,
}

impl Home {
    /// Where the adapter for a scheme is, if there is one.
    pub(super) fn of(scheme: &str) -> Option<Self> {
        let sql = |feature| Self { package: "chat-store-sql", feature: Some(feature) };
        let redis = |feature| Self { package: "chat-store-redis", feature };
        match scheme {
            "sqlite" => Some(sql("sqlite")),
            "postgres" | "postgresql" => Some(sql("postgres")),
            "mysql" | "mariadb" => Some(sql("mysql")),
            "redis" | "redis+cluster" => Some(redis(None)),
            "rediss" | "rediss+cluster" => Some(redis(Some("tls"))),
            _ => None,
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.feature {
            Some(feature) => write!(f, "the crate {} with its feature `{feature}`", self.package),
            None => write!(f, "the crate {}", self.package),
        }
    }
}
