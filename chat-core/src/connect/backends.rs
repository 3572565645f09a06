//! The kinds of store that a program was built with.

use std::sync::Arc;

use super::backend::Backend;
use super::error::{Home, OpenError, Schemes};
use super::memory::MemoryBackend;
use super::opened::Opened;
use super::url::StoreUrl;

/// Finds the adapter for a URL. See the [module](super) for an example.
#[derive(Debug, Clone)]
#[must_use]
pub struct Backends {
    backends: Vec<Arc<dyn Backend>>,
}

impl Backends {
    /// Only `memory:`.
    pub fn memory() -> Self {
        Self { backends: vec![Arc::new(MemoryBackend)] }
    }

    /// Adds an adapter's. Of two with one scheme the one added last is taken, so that a host can
    /// put its own in place of another.
    pub fn with(mut self, more: impl IntoIterator<Item = Arc<dyn Backend>>) -> Self {
        self.backends.extend(more);
        self
    }

    /// The schemes of all, in the order added.
    #[must_use]
    pub fn schemes(&self) -> Schemes {
        let mut schemes = Vec::new();
        for scheme in self.backends.iter().flat_map(|backend| backend.schemes()) {
            if !schemes.contains(scheme) {
                schemes.push(*scheme);
            }
        }
        Schemes(schemes)
    }

    /// Reads a URL and makes sure that this program has its adapter, without opening anything.
    ///
    /// # Errors
    /// [`OpenError::Url`], [`OpenError::UnknownScheme`] or [`OpenError::NotCompiledIn`].
    pub fn parse(&self, url: &str) -> Result<StoreUrl, OpenError> {
        let url = StoreUrl::parse(url)?;
        self.find(&url)?;
        Ok(url)
    }

    /// Opens the store at a URL.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing open.
    pub async fn open(&self, url: &str) -> Result<Opened, OpenError> {
        self.open_url(&StoreUrl::parse(url)?).await
    }

    /// The same for a URL that was read already.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing open.
    pub async fn open_url(&self, url: &StoreUrl) -> Result<Opened, OpenError> {
        self.find(url)?.open(url).await
    }

    fn find(&self, url: &StoreUrl) -> Result<&Arc<dyn Backend>, OpenError> {
        let scheme = url.scheme();
        let last_first = self.backends.iter().rev();
        let mut fitting = last_first.filter(|backend| backend.schemes().contains(&scheme));
        fitting.next().ok_or_else(|| {
            let (scheme, available) = (scheme.to_owned(), self.schemes());
            match Home::of(&scheme) {
                Some(home) => OpenError::NotCompiledIn { scheme, home, available },
                None => OpenError::UnknownScheme { scheme, available },
            }
        })
    }
}
