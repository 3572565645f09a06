//! A store's URL: text with a scheme that is shown without its secrets.

use std::fmt;
use std::str::FromStr;

/// Where a store is, such as `postgres://ann:secret@db/chat?namespace=team`.
///
/// What stands behind the scheme is left to the adapter. Shown (by `Display` or `Debug`), it has
/// no password and no value of a parameter that may be secret; when in doubt, too much is hidden.
/// [`expose`](Self::expose) gives the whole text.
///
/// ```
/// use chat_core::connect::StoreUrl;
///
/// let url: StoreUrl = "postgres://ann:secret@db/chat".parse()?;
/// assert_eq!(url.scheme(), "postgres");
/// assert_eq!(url.to_string(), "postgres://ann:***@db/chat");
/// let url = url.with_parameter("namespace", "team");
/// assert_eq!(url.expose(), "postgres://ann:secret@db/chat?namespace=team");
/// # Ok::<(), chat_core::connect::InvalidUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoreUrl {
    text: String,
    /// Bytes of the scheme.
    scheme: usize,
}

/// Why a text is not a store's URL. Never holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It does not begin with letters and a colon.
    #[error("a store's URL begins with a scheme and a colon, such as `sqlite:`")]
    NoScheme,
    /// It holds a space or a control character; as part of a URL these are written as `%20` and
    /// so on.
    #[error("a store's URL holds no spaces or control characters; write a space as `%20`")]
    Blank,
}

impl StoreUrl {
    /// Reads a URL. The scheme is brought to small letters, the rest stays as it is.
    ///
    /// # Errors
    /// [`InvalidUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once(':').ok_or(InvalidUrl::NoScheme)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(allowed) {
            return Err(InvalidUrl::NoScheme);
        }
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidUrl::Blank);
        }
        let text = format!("{}:{rest}", scheme.to_ascii_lowercase());
        Ok(Self { text, scheme: scheme.len() })
    }

    /// What stands before the first colon, in small letters.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.text.get(..self.scheme).unwrap_or_default()
    }

    /// The whole text with its secrets, for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Adds a parameter at the end. Name and value are written as they are.
    #[must_use]
    pub fn with_parameter(mut self, name: &str, value: &str) -> Self {
        let sign = if self.text.contains('?') { '&' } else { '?' };
        self.text.push_str(&format!("{sign}{name}={value}"));
        self
    }

    /// The parameters, in their order, as they are written.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let query = self.text.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidUrl;
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        Self::parse(text)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = without_password(&self.text);
        let Some((before, query)) = shown.split_once('?') else {
            return f.write_str(&shown);
        };
        f.write_str(before)?;
        for (index, pair) in query.split('&').enumerate() {
            let sign = if index == 0 { '?' } else { '&' };
            match pair.split_once('=') {
                Some((name, _)) if may_be_secret(name) => write!(f, "{sign}{name}={HIDDEN}")?,
                _ => write!(f, "{sign}{pair}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

const HIDDEN: &str = "***";

/// Hides from the first colon behind the scheme and its slashes, of which some may be missing, to
/// the last `@`: a password may hold any sign that its writer forgot to encode, so what stands
/// between is not looked into.
fn without_password(text: &str) -> String {
    let hide = || {
        let (scheme, rest) = text.split_once(':')?;
        let slashes = rest.len() - rest.trim_start_matches('/').len();
        let (slashes, rest) = rest.split_at_checked(slashes)?;
        let (user, host) = rest.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}:{slashes}{name}:{HIDDEN}@{host}"))
    };
    hide().unwrap_or_else(|| text.to_owned())
}

fn may_be_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    // A name can be written in percent-codes, too; nobody does so with good intent.
    const WORDS: [&str; 7] = ["pass", "pwd", "secret", "token", "auth", "key", "%"];
    WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        StoreUrl::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_password_is_never_shown_however_it_is_written() {
        for (text, expected) in [
            ("postgres://ann:hunter2@db:5432/chat", "postgres://ann:***@db:5432/chat"),
            ("redis://:hunter2@db", "redis://:***@db"),
            ("postgres:ann:hunter2@db", "postgres:ann:***@db"),
            ("postgres:/ann:hunter2@db/chat", "postgres:/ann:***@db/chat"),
            ("postgres:///ann:hunter2@db/chat", "postgres:///ann:***@db/chat"),
            ("postgres:ann:hunter2//@db", "postgres:ann:***@db"),
            ("redis://:hunter2@a,b,c/0?x=1", "redis://:***@a,b,c/0?x=1"),
            ("mysql://ann:hun?ter2@db/chat", "mysql://ann:***@db/chat"),
            ("mysql://ann:hunter2/@:@db/chat", "mysql://ann:***@db/chat"),
            ("mysql://ann:hunter2#@db/chat", "mysql://ann:***@db/chat"),
            (
                "postgres://db/chat?user=ann&password=hunter2",
                "postgres://db/chat?user=ann&password=***",
            ),
            (
                "postgres://db/chat?sslPassword=hunter2&a=1",
                "postgres://db/chat?sslPassword=***&a=1",
            ),
            ("postgres://db/chat?%70assword=hunter2", "postgres://db/chat?%70assword=***"),
            ("postgres://ann:hunter2@db/chat?to=a@b", "postgres://ann:***@b"),
        ] {
            assert_eq!(shown(text), expected);
            let url = StoreUrl::parse(text).unwrap();
            assert!(!format!("{url:?} {url}").contains("hunter2"), "{text}");
            assert_eq!(url.expose(), text);
        }
    }

    #[test]
    fn what_has_no_password_is_shown_as_it_is() {
        for text in
            ["memory:", "sqlite:a@b.db", "sqlite:///var/chat.db?mode=ro", "postgres://ann@db/chat"]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn a_text_without_a_scheme_is_refused_and_not_repeated() {
        for (text, expected) in [
            ("", InvalidUrl::NoScheme),
            ("hunter2", InvalidUrl::NoScheme),
            (":hunter2", InvalidUrl::NoScheme),
            ("//ann:hunter2@db", InvalidUrl::NoScheme),
            ("1a:hunter2", InvalidUrl::NoScheme),
            ("sqlite:hunter2 .db", InvalidUrl::Blank),
            ("sqlite:hunter2\n", InvalidUrl::Blank),
        ] {
            let error = StoreUrl::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert!(!format!("{error:?} {error}").contains("hunter2"));
        }
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_parameters_in_their_order() {
        let url = StoreUrl::parse("SQLite:A.db?b=1&a&&c=x=y").unwrap();
        assert_eq!((url.scheme(), url.expose()), ("sqlite", "sqlite:A.db?b=1&a&&c=x=y"));
        let parameters: Vec<_> = url.parameters().collect();
        assert_eq!(parameters, [("b", "1"), ("a", ""), ("c", "x=y")]);
        let url = StoreUrl::parse("memory:").unwrap().with_parameter("a", "1");
        assert_eq!(url.with_parameter("b", "2").expose(), "memory:?a=1&b=2");
    }
}
