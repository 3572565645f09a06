//! What a history is made of. Steps speak of "the third event" or "one version too few", and get
//! their meaning when they are run; so they stay meaningful when others before them are taken out.

use proptest::collection::vec;
use proptest::prelude::{Just, any};
use proptest::prop_oneof;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::ports::Direction;

/// How many streams a history has. Some share a partition key.
pub(super) const STREAMS: usize = 5;

/// One step of a history. Numbers are taken modulo what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One call of `append`.
    Append(Vec<Plan>),
    /// Reads a page of a stream, from this version.
    Page(u8, Direction, u8, Limit),
    /// Reads a page of a log, behind this event of it.
    Log(u8, u8, Limit),
    /// Looks in a stream for an event of a stream.
    Find(u8, u8, u8),
    /// Asks for heads.
    Heads(Vec<u8>),
    /// Goes on with another handle.
    Reopen,
}

/// Events and bytes of a page.
pub type Limit = (u8, u16);

/// One append: writes, and guards on streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// To which streams; a stream that comes twice is left out the second time.
    pub writes: Vec<Write>,
    /// Conditions on others.
    pub guards: Vec<(u8, Expect)>,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// To which stream.
    pub stream: u8,
    /// On which condition.
    pub expect: Expect,
    /// What.
    pub content: Content,
}

/// An expectation, told from the version that the stream will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the variants of `Expected`")]
pub enum Expect {
    Any,
    NoStream,
    Exists,
    /// Exactly that version.
    Head,
    /// Exactly so many below it, or zero.
    Below(u8),
    /// Exactly so many above it.
    Above(u8),
}

/// Events, told from those that the stream has. What is not there yet is written as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// So many new events.
    New(u8),
    /// From this event on, so many once more.
    Again(u8, u8),
    /// This event once more, and a new one.
    AgainAndNew(u8),
    /// This event and the one before it, the wrong way round.
    Backwards(u8),
    /// This event with another payload.
    Changed(u8),
    /// This event with another time and other metadata: a repeat.
    Retold(u8),
    /// The event of another stream.
    Foreign(u8, u8),
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        4 => Just(Expect::Any),
        3 => Just(Expect::Head),
        1 => Just(Expect::NoStream),
        1 => Just(Expect::Exists),
        1 => (1..3_u8).prop_map(Expect::Below),
        1 => (1..3_u8).prop_map(Expect::Above),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let event = any::<u8>();
    prop_oneof![
        8 => (1..4_u8).prop_map(Content::New),
        3 => (event, 1..4_u8).prop_map(|(event, count)| Content::Again(event, count)),
        1 => event.prop_map(Content::AgainAndNew),
        1 => event.prop_map(Content::Backwards),
        1 => event.prop_map(Content::Changed),
        1 => event.prop_map(Content::Retold),
        1 => (event, event).prop_map(|(stream, event)| Content::Foreign(stream, event)),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let stream = 0..STREAMS as u8;
    let write = (stream.clone(), expect(), content()).prop_map(|(stream, expect, content)| Write {
        stream,
        expect,
        content,
    });
    let write = std::rc::Rc::new(write);
    let writes = prop_oneof![4 => vec(write.clone(), 1..=1), 1 => vec(write, 2..=3)];
    let guard = std::rc::Rc::new((stream, expect()));
    let guards = prop_oneof![4 => Just(vec![]), 1 => vec(guard, 1..=2)];
    (writes, guards).prop_map(|(writes, guards)| Plan { writes, guards })
}

/// Steps of all kinds, mostly appends.
pub fn strategy(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    let limit = || (0..20_u8, prop_oneof![3 => Just(u16::MAX), 1 => 0..600_u16]);
    let byte = any::<u8>;
    let plan = std::rc::Rc::new(plan());
    let call = prop_oneof![3 => vec(plan.clone(), 1..=1), 1 => vec(plan, 1..5)];
    let step = prop_oneof![
        12 => call.prop_map(Step::Append),
        3 => (byte(), direction, byte(), limit())
            .prop_map(|(stream, direction, from, limit)| Step::Page(stream, direction, from, limit)),
        3 => (byte(), byte(), limit()).prop_map(|(log, after, limit)| Step::Log(log, after, limit)),
        1 => (byte(), byte(), byte()).prop_map(|(inside, of, event)| Step::Find(inside, of, event)),
        1 => vec(byte(), 0..6).prop_map(Step::Heads),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..=most.max(1))
}

/// A runner whose choices follow from a number.
pub(super) fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    for (byte, from) in bytes.iter_mut().zip(seed.to_be_bytes()) {
        *byte = from;
    }
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// The steps of the history with this number.
#[must_use]
pub fn steps(seed: u64) -> Vec<Step> {
    let tree = strategy(super::run::STEPS).new_tree(&mut runner(seed));
    tree.expect("the strategy rejects nothing").current()
}
