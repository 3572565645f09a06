//! Who there is: names and password hashes. One stream for each account, so that the store itself
//! lets only one of several that register a name at once succeed.

use chat_core::ports::{Expected, StoreError};
use chat_core::{StreamId, UserId, Version};
use serde::{Deserialize, Serialize};

use crate::journal::{Fact, Journal, fact};
use crate::passwords::{PasswordError, Passwords};

/// The participant that a model speaks for. Nobody can log in as it.
pub(crate) const ASSISTANT: &str = "assistant";

/// Names that would be taken for somebody or something else.
const RESERVED: [&str; 12] = [
    ASSISTANT,
    "admin",
    "administrator",
    "all",
    "everybody",
    "everyone",
    "here",
    "moderator",
    "owner",
    "root",
    "support",
    "system",
];
const NAME_BYTES: std::ops::RangeInclusive<usize> = 2..=32;
const PASSWORD_CHARS: usize = 8;
const PASSWORD_BYTES: usize = 800;

/// Somebody registered.
#[derive(Debug, Serialize, Deserialize)]
struct Registered {
    name: UserId,
    /// Argon2id, in the PHC format.
    password: String,
}

impl Fact for Registered {
    const TYPE: &'static str = "account_registered";
}

/// Why there is no account, or no way in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error(
        "A name has 2 to 32 of the letters a to z, digits, and the signs . _ - and begins with a letter."
    )]
    BadName,
    #[error("This name is taken.")]
    NameTaken,
    #[error("A password has at least {PASSWORD_CHARS} characters.")]
    ShortPassword,
    #[error("This password is too long.")]
    LongPassword,
    #[error("The password must not be the name.")]
    PasswordIsName,
    /// Does not say which: whoever tries names must not learn which exist here.
    #[error("The name or the password is wrong.")]
    WrongNameOrPassword,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Registers people and checks who they are.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    journal: Journal,
    passwords: Passwords,
}

impl Accounts {
    pub(crate) fn new(journal: Journal, passwords: Passwords) -> Self {
        Self { journal, passwords }
    }

    /// Makes an account. Of several at once for one name, one succeeds.
    pub(crate) async fn register(
        &self,
        name: &str,
        password: String,
    ) -> Result<UserId, AccountError> {
        let user = parse_name(name).filter(|user| !RESERVED.contains(&user.as_str()));
        let user = user.ok_or(AccountError::BadName)?;
        if password.chars().count() < PASSWORD_CHARS {
            return Err(AccountError::ShortPassword);
        }
        if password.len() > PASSWORD_BYTES {
            return Err(AccountError::LongPassword);
        }
        if password.to_lowercase() == user.as_str() {
            return Err(AccountError::PasswordIsName);
        }
        // Before the costly part; the append decides.
        if self.exists(&user).await? {
            return Err(AccountError::NameTaken);
        }
        let password = self.passwords.hash(password).await?;
        let account = Registered { name: user.clone(), password };
        let id = self.journal.event_id();
        match self.journal.write(&stream(&user)?, Expected::NoStream, id, &account).await {
            Ok(_) => Ok(user),
            Err(StoreError::Conflict { .. }) => Err(AccountError::NameTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Says who it is, if the password is right. Takes as long for a name that does not exist.
    pub(crate) async fn check(&self, name: &str, password: String) -> Result<UserId, AccountError> {
        if password.len() > PASSWORD_BYTES {
            return Err(AccountError::WrongNameOrPassword);
        }
        let user = parse_name(name);
        let account = match &user {
            Some(user) => self.account(user).await?,
            None => None,
        };
        let hash = account.map(|account| account.password);
        match (self.passwords.verify(password, hash).await?, user) {
            (true, Some(user)) => Ok(user),
            _ => Err(AccountError::WrongNameOrPassword),
        }
    }

    /// Whether somebody has this name.
    pub(crate) async fn exists(&self, user: &UserId) -> Result<bool, StoreError> {
        Ok(user.as_str() == ASSISTANT || self.account(user).await?.is_some())
    }

    async fn account(&self, user: &UserId) -> Result<Option<Registered>, StoreError> {
        let (events, _) = self.journal.read(&stream(user)?, Version::ZERO).await?;
        match events.first() {
            Some(event) => fact(event),
            None => Ok(None),
        }
    }
}

/// Plain letters only, all small: two names never look alike, and nobody poses as another.
pub(crate) fn parse_name(name: &str) -> Option<UserId> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let fits = NAME_BYTES.contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    UserId::new(name).ok().filter(|_| fits)
}

fn stream(user: &UserId) -> Result<StreamId, StoreError> {
    StreamId::new(format!("account/{user}"))
        .map_err(|error| StoreError::Invalid { what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chat_core::memory::MemoryEventStore;
    use chat_core::{RandomIds, SystemClock};

    use super::*;

    async fn accounts() -> Accounts {
        let store = Arc::new(MemoryEventStore::new());
        let journal = Journal::new(store, Arc::new(SystemClock), Arc::new(RandomIds));
        Accounts::new(journal, Passwords::new().await.unwrap())
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        for good in ["ann", "b2", "li.wei", "x_y-z9"] {
            assert!(parse_name(good).is_some(), "{good}");
        }
        let long = "a".repeat(33);
        for bad in ["", "a", "Ann", "аnn", "ann ", "9lives", "a/b", "ann.", "a\u{202e}b", &long] {
            assert!(parse_name(bad).is_none(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn of_many_that_register_a_name_at_once_one_gets_it() {
        let accounts = accounts().await;
        let tries = (0..8).map(|n| accounts.register("ann", format!("password {n}")));
        let answers = futures::future::join_all(tries).await;
        let taken = |answer: &&Result<_, _>| matches!(answer, Err(AccountError::NameTaken));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert_eq!(answers.iter().filter(taken).count(), 7);
    }

    #[tokio::test]
    async fn reserved_names_and_weak_passwords_are_refused() {
        let accounts = accounts().await;
        let register = async |name: &str, password: &str| {
            accounts.register(name, password.to_owned()).await.map_err(|error| error.to_string())
        };
        assert_eq!(
            register(ASSISTANT, "long enough").await,
            Err(AccountError::BadName.to_string())
        );
        assert_eq!(register("ann", "short").await, Err(AccountError::ShortPassword.to_string()));
        assert_eq!(
            register("annabella", "Annabella").await,
            Err(AccountError::PasswordIsName.to_string())
        );
        let long = "x".repeat(801);
        assert_eq!(register("ann", &long).await, Err(AccountError::LongPassword.to_string()));
    }
}
