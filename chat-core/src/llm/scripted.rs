//! A model that does what a test tells it to, and remembers what it was asked.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::script::LlmScript;
use crate::ports::{LlmBackend, LlmError, LlmErrorKind, LlmRequest, LlmStream};

/// A backend for tests: each call plays the next script of a queue.
///
/// When the queue is empty, the fallback given by [`with_fallback`](Self::with_fallback) answers;
/// without one the call fails with [`LlmErrorKind::Config`]. The latest
/// [`CAPACITY`](Self::CAPACITY) requests are kept. Clones share everything.
///
/// ```
/// use chat_core::llm::{LlmScript, ScriptedLlm};
///
/// let llm = ScriptedLlm::new().with_fallback(|request| {
///     let question = request.messages.last().map_or("", |message| message.text.as_str());
///     LlmScript::reply(format!("You said: {question}"))
/// });
/// llm.push(LlmScript::reply("The first call gets this."))?;
/// assert_eq!(llm.calls(), 0);
/// # Ok::<(), chat_core::llm::ScriptsFull>(())
/// ```
#[derive(Clone)]
pub struct ScriptedLlm {
    model: String,
    fallback: Option<Fallback>,
    state: Arc<State>,
}

impl ScriptedLlm {
    /// Most scripts that wait, and most requests that are kept.
    pub const CAPACITY: usize = 4096;

    /// A model without any script.
    #[must_use]
    pub fn new() -> Self {
        let counts = watch::Sender::new(Counts { calls: 0, open: 0 });
        let state = State { queues: Mutex::default(), counts };
        Self { model: "scripted".to_owned(), fallback: None, state: Arc::new(state) }
    }

    /// Names the model.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Answers calls for which no script is left.
    #[must_use]
    pub fn with_fallback<F>(mut self, fallback: F) -> Self
    where
        F: Fn(&LlmRequest) -> LlmScript + Send + Sync + 'static,
    {
        self.fallback = Some(Arc::new(fallback));
        self
    }

    /// Adds a script behind those that wait.
    ///
    /// # Errors
    /// [`ScriptsFull`] if [`CAPACITY`](Self::CAPACITY) scripts wait already.
    pub fn push(&self, script: LlmScript) -> Result<(), ScriptsFull> {
        let mut queues = self.state.queues();
        if queues.scripts.len() >= Self::CAPACITY {
            return Err(ScriptsFull);
        }
        queues.scripts.push_back(script);
        Ok(())
    }

    /// The requests so far, oldest first; the latest [`CAPACITY`](Self::CAPACITY) of them.
    #[must_use]
    pub fn requests(&self) -> Vec<LlmRequest> {
        self.state.queues().requests.iter().cloned().collect()
    }

    /// How many calls began.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.counts.borrow().calls
    }

    /// How many calls are not over: neither failed, nor was their stream dropped.
    #[must_use]
    pub fn open_calls(&self) -> u64 {
        self.state.counts.borrow().open
    }

    /// Waits until this many calls have begun.
    ///
    /// # Cancel safety
    /// Waits only; may be dropped and called again.
    pub async fn wait_for_calls(&self, calls: u64) {
        self.wait(|counts| counts.calls >= calls).await;
    }

    /// Waits until at most this many calls are open; with 0, until every stream was dropped.
    ///
    /// # Cancel safety
    /// Waits only; may be dropped and called again.
    pub async fn wait_for_open_calls(&self, open: u64) {
        self.wait(|counts| counts.open <= open).await;
    }

    async fn wait(&self, reached: impl FnMut(&Counts) -> bool) {
        // The sender lives in `self.state`, so the channel cannot close meanwhile.
        let _ = self.state.counts.subscribe().wait_for(reached).await;
    }

    fn next_script(&self, request: &LlmRequest) -> Option<LlmScript> {
        let mut queues = self.state.queues();
        if queues.requests.len() >= Self::CAPACITY {
            queues.requests.pop_front();
        }
        queues.requests.push_back(request.clone());
        let script = queues.scripts.pop_front();
        // The host's function runs without the lock: it may ask this model what it has seen.
        drop(queues);
        script.or_else(|| self.fallback.as_ref().map(|fallback| fallback(request)))
    }
}

impl Default for ScriptedLlm {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for ScriptedLlm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedLlm")
            .field("model", &self.model)
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl LlmBackend for ScriptedLlm {
    fn model(&self) -> &str {
        &self.model
    }

    async fn generate(&self, request: LlmRequest) -> Result<LlmStream, LlmError> {
        let script = self.next_script(&request);
        let open = OpenCall::begin(&self.state);
        match script {
            Some(script) => script.start(open).await,
            None => Err(LlmError::new(LlmErrorKind::Config, "no script is left for this call")),
        }
    }
}

/// Too many scripts wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} scripts wait already", ScriptedLlm::CAPACITY)]
pub struct ScriptsFull;

type Fallback = Arc<dyn Fn(&LlmRequest) -> LlmScript + Send + Sync>;

struct State {
    queues: Mutex<Queues>,
    counts: watch::Sender<Counts>,
}

impl State {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        // No code that could panic runs under the lock.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Queues {
    scripts: VecDeque<LlmScript>,
    requests: VecDeque<LlmRequest>,
}

#[derive(Debug)]
struct Counts {
    calls: u64,
    open: u64,
}

/// One call, from its start until its stream is dropped.
struct OpenCall(Arc<State>);

impl OpenCall {
    fn begin(state: &Arc<State>) -> Self {
        state.counts.send_modify(|counts| {
            counts.calls = counts.calls.saturating_add(1);
            counts.open = counts.open.saturating_add(1);
        });
        Self(Arc::clone(state))
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.open = counts.open.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;

    use super::*;
    use crate::ports::{EndReason, LlmEvent, LlmMessage, LlmOutcome, LlmRole};

    fn ask(question: &str) -> LlmRequest {
        LlmRequest::new(vec![LlmMessage::new(LlmRole::User, question)])
    }

    fn text(piece: &str) -> LlmEvent {
        LlmEvent::Text(piece.to_owned())
    }

    fn end(reason: EndReason) -> LlmEvent {
        LlmEvent::End(LlmOutcome::new(reason))
    }

    #[tokio::test]
    async fn scripts_play_in_order_and_requests_are_kept() {
        let llm = ScriptedLlm::new();
        llm.push(LlmScript::pieces(["a", "b"])).unwrap();
        llm.push(LlmScript::reply("c").ending(EndReason::Length)).unwrap();
        let first: Vec<_> = llm.generate(ask("1")).await.unwrap().collect().await;
        let second: Vec<_> = llm.generate(ask("2")).await.unwrap().collect().await;
        assert_eq!(first, [text("a"), text("b"), end(EndReason::Complete)]);
        assert_eq!(second, [text("c"), end(EndReason::Length)]);
        assert_eq!(llm.requests(), [ask("1"), ask("2")]);
        assert_eq!((llm.calls(), llm.open_calls()), (2, 0));
    }

    #[tokio::test]
    async fn an_empty_queue_asks_the_fallback_and_fails_without_one() {
        let bare = ScriptedLlm::new();
        let error = bare.generate(ask("?")).await.err().unwrap();
        assert_eq!(error.kind, LlmErrorKind::Config);

        let llm =
            bare.with_fallback(|request| LlmScript::reply(request.messages[0].text.to_uppercase()));
        let events: Vec<_> = llm.generate(ask("echo")).await.unwrap().collect().await;
        assert_eq!(events, [text("ECHO"), end(EndReason::Complete)]);
    }

    #[tokio::test]
    async fn a_refusal_fails_the_call_and_leaves_nothing_open() {
        let llm = ScriptedLlm::new();
        let error = LlmError::new(LlmErrorKind::RateLimited, "slower");
        llm.push(LlmScript::refusal(error.clone())).unwrap();
        assert_eq!(llm.generate(ask("?")).await.err(), Some(error));
        assert_eq!(llm.open_calls(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_take_their_time_on_tokios_clock() {
        let llm = ScriptedLlm::new();
        let second = Duration::from_secs(1);
        let script = LlmScript::pieces(["a", "b"]).with_pause_between(second).with_delay(second);
        llm.push(script).unwrap();
        let start = tokio::time::Instant::now();
        let mut stream = llm.generate(ask("?")).await.unwrap();
        let mut times = vec![start.elapsed()];
        while stream.next().await.is_some() {
            times.push(start.elapsed());
        }
        assert_eq!(times, [second, 2 * second, 3 * second, 4 * second]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_that_never_ends_stays_open_until_dropped() {
        let llm = ScriptedLlm::new();
        llm.push(LlmScript::reply("a").never_ending()).unwrap();
        let mut stream = llm.generate(ask("?")).await.unwrap();
        assert_eq!(stream.next().await, Some(text("a")));
        let silence = tokio::time::timeout(Duration::from_secs(3600), stream.next()).await;
        assert!(silence.is_err(), "{silence:?}");
        assert_eq!(llm.open_calls(), 1);
        drop(stream);
        llm.wait_for_open_calls(0).await;
        assert_eq!(llm.open_calls(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_more_scripts() {
        let llm = ScriptedLlm::new();
        for _ in 0..ScriptedLlm::CAPACITY {
            llm.push(LlmScript::reply("")).unwrap();
        }
        assert_eq!(llm.push(LlmScript::reply("")), Err(ScriptsFull));
    }
}
