//! Reading a subscription to where it must come, and the model of a client that folds what it gets.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{ChatEvent, MessageState, ReactionPolicy};
use crate::engine::{
    ChatRecord, ChatSignal, Delivery, OpenChat, Subscription, SubscriptionEnd, SyncToken,
};
use crate::id::Version;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes down all that a subscription gives.
#[derive(Debug)]
pub struct Reader {
    subscription: Subscription,
    /// The events so far.
    pub records: Vec<ChatRecord>,
    /// The signals so far.
    pub signals: Vec<ChatSignal>,
    /// The end, once it came.
    pub end: Option<SubscriptionEnd>,
}

impl Reader {
    /// Begins to read.
    #[must_use]
    pub fn new(subscription: Subscription) -> Self {
        Self { subscription, records: Vec::new(), signals: Vec::new(), end: None }
    }

    /// Takes the next delivery down; false after the end.
    ///
    /// # Panics
    /// If none comes, or events come in disorder or twice.
    pub async fn step(&mut self) -> bool {
        let next = tokio::time::timeout(PATIENCE, self.subscription.next()).await;
        match next.unwrap_or_else(|_| panic!("nothing comes behind {}", self.version())) {
            Some(Delivery::Events(events)) => {
                assert!(!events.is_empty(), "a delivery of no events");
                for record in events.iter() {
                    let last = self.records.last().map_or(Version::ZERO, |last| last.version);
                    let version = record.version;
                    assert!(version > last, "{version} comes behind {last}");
                    self.records.push(record.clone());
                }
            }
            Some(Delivery::Signal(signal)) => self.signals.push(signal),
            Some(Delivery::Ended(end)) => {
                assert!(self.end.is_none(), "a second end: {end:?}");
                self.end = Some(end);
            }
            None => {
                assert!(self.end.is_some(), "the deliveries stop without an end");
                return false;
            }
        }
        true
    }

    /// Reads until the reader stands at this version.
    ///
    /// # Panics
    /// If the subscription ends before.
    pub async fn until(&mut self, version: Version) -> &[ChatRecord] {
        while self.version() < version {
            self.step().await;
            assert!(self.end.is_none(), "an end before {version}: {:?}", self.end);
        }
        &self.records
    }

    /// Reads until there are this many events.
    pub async fn count(&mut self, events: usize) -> &[ChatRecord] {
        while self.records.len() < events {
            self.step().await;
            assert!(self.end.is_none(), "an end before {events} events: {:?}", self.end);
        }
        &self.records
    }

    /// Reads until there are this many signals.
    pub async fn signals(&mut self, signals: usize) -> &[ChatSignal] {
        while self.signals.len() < signals {
            self.step().await;
            assert!(self.end.is_none(), "an end before {signals} signals: {:?}", self.end);
        }
        &self.signals
    }

    /// Reads until the end.
    ///
    /// # Panics
    /// If the end does not come, or something comes behind it.
    pub async fn to_end(&mut self) -> &SubscriptionEnd {
        while self.step().await {}
        self.end.as_ref().expect("an end")
    }

    /// Checks that the subscription has ended and gave nothing but its end since.
    pub async fn ends_now(&mut self) -> SubscriptionEnd {
        let before = self.records.len();
        let end = self.to_end().await.clone();
        let more: Vec<_> = self.records.iter().skip(before).map(|r| r.version).collect();
        assert!(more.is_empty(), "events come instead of the end: {more:?}");
        end
    }

    /// The version where the reader stands.
    #[must_use]
    pub fn version(&self) -> Version {
        self.subscription.version()
    }

    /// Where to go on.
    #[must_use]
    pub fn token(&self) -> SyncToken {
        self.subscription.token()
    }

    /// The versions of the events so far.
    #[must_use]
    pub fn versions(&self) -> Vec<u64> {
        self.records.iter().map(|record| record.version.0).collect()
    }

    /// The texts of the messages so far.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        let texts = self.records.iter().filter_map(|record| match &record.event {
            ChatEvent::MessageSent(sent) => Some(&*sent.text),
            _ => None,
        });
        texts.collect()
    }
}

/// What a client shows: messages as it opened them, with every event folded in that came since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    messages: BTreeMap<Version, MessageState>,
    policy: ReactionPolicy,
    /// The last event that is folded in.
    pub version: Version,
}

impl Screen {
    /// A chat that was opened.
    #[must_use]
    pub fn new(open: &OpenChat, policy: ReactionPolicy) -> Self {
        let messages = open.page.messages.iter();
        let messages =
            messages.map(|message| (message.seq, MessageState::clone(message))).collect();
        Self { messages, policy, version: open.page.version }
    }

    /// Folds events in; what is folded in already changes nothing.
    pub fn take(&mut self, records: &[ChatRecord]) {
        for record in records {
            if record.version <= self.version {
                continue;
            }
            self.version = record.version;
            let (version, at) = (record.version, record.at);
            if let ChatEvent::MessageSent(sent) = &record.event {
                let message = || MessageState::sent(record.id.into(), version, at, sent);
                self.messages.entry(version).or_insert_with(message);
            }
            let target = record.event.target().map(|target| target.seq);
            if let Some(message) = target.and_then(|seq| self.messages.get_mut(&seq)) {
                message.apply(version, at, &record.event, self.policy);
            }
        }
    }

    /// Checks that two clients show the same. A message that was opened when its deletion had not
    /// come yet and one that was read as deleted differ in nothing that is shown.
    ///
    /// # Panics
    /// If they do not.
    pub fn assert_shows(&self, other: &Self) {
        let shown = |screen: &Self| -> Vec<_> {
            let messages = screen.messages.values();
            messages
                .map(|m| {
                    let gone = m.deleted.clone();
                    (m.seq, m.id, m.text.clone(), gone, m.mentions.clone(), m.reactions.clone())
                })
                .collect()
        };
        assert_eq!(shown(self), shown(other), "two clients show different things");
    }
}
