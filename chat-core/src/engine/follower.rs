//! A subscription that goes on by itself: resumes when it lagged, opens the chat anew when its place
//! is lost, and waits longer and longer while the store fails.

use std::time::Duration;

use super::chat::{ChatHandle, OpenChat};
use super::error::ChatError;
use super::subscription::{Delivery, Events, SubscribeFrom, Subscription, SubscriptionEnd};
use super::tail::ChatSignal;
use super::token::SyncToken;

/// Follows a chat for as long as the user may read it. Made by [`ChatHandle::follow`].
#[derive(Debug)]
pub struct Follower {
    chat: ChatHandle,
    limit: usize,
    state: State,
    /// Rounds in a row without an event from a subscription.
    failures: u32,
}

#[derive(Debug)]
enum State {
    Open,
    Resume(SyncToken),
    Live(Box<Subscription>),
    Over,
}

/// What a [`Follower`] gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Followed {
    /// The chat as it is. First, and again whenever the place in it was lost: what was known before
    /// is to be forgotten.
    Opened(Box<OpenChat>),
    /// The next events, in order, each once.
    Events(Events),
    /// Something that is not stored.
    Signal(ChatSignal),
    /// The end, once, last.
    Ended(FollowEnd),
}

/// Why a [`Follower`] ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FollowEnd {
    /// The user left the chat.
    Left,
    /// The user was removed from it.
    Removed,
    /// The engine shuts down.
    ShuttingDown {
        /// Where to go on, if the follower had come so far.
        resume: Option<SyncToken>,
    },
    /// The chat cannot be read, and waiting does not help.
    Failed(ChatError),
}

/// The first wait after a failure; it doubles up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_millis(50);
const MAX_WAIT: Duration = Duration::from_secs(10);

impl Follower {
    pub(super) fn new(chat: ChatHandle, limit: usize, from: Option<SyncToken>) -> Self {
        let state = from.map_or(State::Open, State::Resume);
        Self { chat, limit, state, failures: 0 }
    }

    /// Where the reader stands, once it has opened the chat.
    #[must_use]
    pub fn token(&self) -> Option<SyncToken> {
        match &self.state {
            State::Live(subscription) => Some(subscription.token()),
            State::Resume(token) => Some(token.clone()),
            State::Open | State::Over => None,
        }
    }

    /// What comes next. `None` after the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            match &mut self.state {
                State::Over => return None,
                State::Open => {
                    if self.failures > 1 {
                        self.wait().await;
                    }
                    // Counted before it can fail, or be followed by a lost place at once.
                    self.failures += 1;
                    match self.chat.open(self.limit).await {
                        Ok(open) => {
                            self.state = State::Resume(open.token.clone());
                            return Some(Followed::Opened(Box::new(open)));
                        }
                        Err(error) => {
                            if let Some(end) = self.failed(error, None) {
                                return Some(end);
                            }
                        }
                    }
                }
                State::Resume(token) => {
                    let token = token.clone();
                    if self.failures > 1 {
                        self.wait().await;
                    }
                    match self.chat.subscribe(SubscribeFrom::Token(token.clone())).await {
                        Ok(subscription) => self.state = State::Live(Box::new(subscription)),
                        Err(ChatError::InvalidToken) => self.state = State::Open,
                        Err(error) => {
                            self.failures += 1;
                            if let Some(end) = self.failed(error, Some(token)) {
                                return Some(end);
                            }
                        }
                    }
                }
                State::Live(subscription) => match subscription.next().await {
                    Some(Delivery::Events(events)) => {
                        self.failures = 0;
                        return Some(Followed::Events(events));
                    }
                    Some(Delivery::Signal(signal)) => return Some(Followed::Signal(signal)),
                    Some(Delivery::Ended(end)) => {
                        if let Some(end) = self.ended(end) {
                            return Some(end);
                        }
                    }
                    None => self.state = State::Over,
                },
            }
        }
    }

    fn ended(&mut self, end: SubscriptionEnd) -> Option<Followed> {
        let over = match end {
            SubscriptionEnd::Left => FollowEnd::Left,
            SubscriptionEnd::Removed => FollowEnd::Removed,
            SubscriptionEnd::ShuttingDown { resume } => {
                FollowEnd::ShuttingDown { resume: Some(resume) }
            }
            SubscriptionEnd::Lagged { resume } => {
                self.state = State::Resume(resume);
                return None;
            }
            SubscriptionEnd::Reset { .. } => {
                self.state = State::Open;
                return None;
            }
            SubscriptionEnd::Failed { error, resume } => {
                self.failures += 1;
                return self.failed(error, Some(resume));
            }
        };
        self.state = State::Over;
        Some(Followed::Ended(over))
    }

    /// Goes on after an error that may pass; ends otherwise.
    fn failed(&mut self, error: ChatError, resume: Option<SyncToken>) -> Option<Followed> {
        if error.is_retryable() {
            self.state = resume.map_or(State::Open, State::Resume);
            return None;
        }
        self.state = State::Over;
        Some(Followed::Ended(match error {
            ChatError::ShuttingDown => FollowEnd::ShuttingDown { resume },
            other => FollowEnd::Failed(other),
        }))
    }

    async fn wait(&self) {
        let doubled = MIN_WAIT * (1 << self.failures.min(8));
        let wait = doubled.min(MAX_WAIT);
        // Between half of it and all of it, so that many followers do not come back together.
        let jitter = u32::from(self.chat.random_byte());
        tokio::time::sleep(wait / 2 + wait / 2 * jitter / 255).await;
    }
}
