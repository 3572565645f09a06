//! Hashes and checks passwords (Argon2id), a few at a time: each takes time and memory on purpose,
//! and neither may be spent without bound. Knows no accounts.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many may wait for their turn beside those that are at work.
const MOST_WAITING: usize = 64;

/// Why no answer was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Too many people log in at this moment.
    #[error("too many people log in at this moment")]
    Busy,
    /// The hashing itself failed, or its task was ended.
    #[error("the password could not be processed")]
    Failed,
}

/// Makes and checks hashes in the PHC format.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// What the password of somebody who does not exist is checked against.
    decoy: Arc<str>,
}

impl Passwords {
    pub(crate) async fn new() -> Result<Self, PasswordError> {
        let working = std::thread::available_parallelism().map_or(1, usize::from);
        let mut passwords = Self {
            working: Arc::new(Semaphore::new(working)),
            waiting: Arc::new(Semaphore::new(MOST_WAITING + working)),
            decoy: Arc::from(""),
        };
        let nobody = crate::random::token().map_err(|_| PasswordError::Failed)?;
        passwords.decoy = passwords.hash(nobody).await?.into();
        Ok(passwords)
    }

    /// The hash that is stored in place of a password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let hash = self.work(move || Argon2::default().hash_password(password.as_bytes())).await?;
        Ok(hash.map_err(|_| PasswordError::Failed)?.to_string())
    }

    /// Whether a password belongs to a hash. Without one the answer is no, after the same work.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.as_ref().to_owned());
        let matches = self.work(move || {
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            })
        });
        Ok(matches.await? && known)
    }

    /// Runs on a thread for blocking work. The permits go along, so that a caller who is gone
    /// does not make room while its work is still being done.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.waiting).try_acquire_owned();
        let place = place.map_err(|_| PasswordError::Busy)?;
        let turn = Arc::clone(&self.working).acquire_owned().await;
        let turn = turn.map_err(|_| PasswordError::Failed)?;
        let work = move || {
            let _held: [OwnedSemaphorePermit; 2] = [place, turn];
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| PasswordError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_matches_its_hash() {
        let passwords = Passwords::new().await.unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("Correct horse".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_crowd_is_told_to_come_back() {
        let passwords = Passwords::new().await.unwrap();
        let tries = (0..400).map(|_| passwords.verify("x".into(), None));
        let answers = futures::future::join_all(tries).await;
        let busy = answers.iter().filter(|answer| **answer == Err(PasswordError::Busy)).count();
        assert!(busy > 0 && busy < 400, "{busy} of 400 were sent away");
    }
}
