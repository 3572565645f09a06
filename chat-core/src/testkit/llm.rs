//! The checks of [`LlmBackend`]. Numbers are those of its guarantees.
//!
//! A harness brings a backend into [`LlmScene`]s. A scene that a backend cannot be brought into is
//! named by [`LlmHarness::cannot`], with the reason; its checks then say so instead of passing
//! unseen. [`LlmScene::Reply`] nobody can decline.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};

use crate::ports::{
    EndReason, LlmBackend, LlmError, LlmErrorKind, LlmEvent, LlmMessage, LlmOutcome, LlmRequest,
    LlmRole, LlmStream,
};

/// What a model does in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LlmScene {
    /// Gives a text in at least two pieces and ends as complete.
    Reply,
    /// Ends as complete without any text.
    EmptyReply,
    /// Gives some text and ends because the limit of output tokens is reached.
    Length,
    /// Gives some text and stops without a word.
    EarlyStop,
    /// Fails before the first piece.
    ErrorBefore,
    /// Gives some text and then fails.
    ErrorAfter,
    /// Gives some text and then nothing more; the backend's own limit ends it within seconds.
    Stall,
    /// Gives some text and then nothing more, for longer than the check lasts.
    Silence,
    /// Gives nothing at all, for longer than the check lasts.
    SilentStart,
}

impl LlmScene {
    /// Every scene.
    pub const ALL: [Self; 9] = [
        Self::Reply,
        Self::EmptyReply,
        Self::Length,
        Self::EarlyStop,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::Stall,
        Self::Silence,
        Self::SilentStart,
    ];

    /// Whether a stream comes, and ends by itself.
    fn streams_to_an_end(self) -> bool {
        !matches!(self, Self::ErrorBefore | Self::Silence | Self::SilentStart)
    }
}

/// Makes backends that play scenes.
#[async_trait]
pub trait LlmHarness: Send + Sync + 'static {
    /// The scenes that this kind of backend cannot be brought into, and why.
    fn cannot(&self) -> &'static [(LlmScene, &'static str)];

    /// A backend each of whose calls plays the scene.
    async fn stage(&self, scene: LlmScene) -> LlmStage;
}

/// A backend, ready to play, and what is to be expected of it.
pub struct LlmStage {
    /// The backend.
    pub backend: Arc<dyn LlmBackend>,
    /// The text that comes, of which nothing may be missing.
    pub text: String,
    /// The class of the error that comes, if one does.
    pub error: Option<LlmErrorKind>,
    /// Resolves when the model has got a call.
    pub reached: BoxFuture<'static, ()>,
    /// Resolves when the model has noticed that one call was stopped.
    pub stopped: BoxFuture<'static, ()>,
}

impl Debug for LlmStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LlmStage").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// What the checks ask. Its text must never appear in an error.
#[must_use]
pub fn question() -> LlmRequest {
    LlmRequest::new(vec![
        LlmMessage::new(LlmRole::System, "Answer in one sentence."),
        LlmMessage::new(LlmRole::User, QUESTION),
    ])
}

/// Guarantee 1, in every scene that ends.
pub async fn every_stream_has_one_ending_and_nothing_behind_it(harness: &impl LlmHarness) {
    for scene in LlmScene::ALL.into_iter().filter(|scene| scene.streams_to_an_end()) {
        let Some(stage) = stage(harness, scene).await else { continue };
        let mut stream = started(&stage).await;
        let mut endings = 0;
        while let Some(event) = next(&mut stream).await {
            assert_eq!(endings, 0, "{scene:?}: {event:?} came behind the ending");
            endings += usize::from(matches!(event, LlmEvent::End(_)));
        }
        assert_eq!(endings, 1, "{scene:?}: the stream ended without an ending");
        for _ in 0..3 {
            assert_eq!(next(&mut stream).await, None, "{scene:?}: the stream goes on");
        }
    }
}

/// Guarantees 2 and 3.
pub async fn a_whole_reply_is_complete_and_its_pieces_are_its_text(harness: &impl LlmHarness) {
    let stage = harness.stage(LlmScene::Reply).await;
    let played = play(&stage).await;
    assert_eq!(played.text, stage.text);
    assert_eq!(played.outcome.reason, EndReason::Complete);
    assert!(played.pieces > 1, "the reply came in {} piece", played.pieces);
}

/// Guarantee 2.
pub async fn an_empty_reply_is_complete(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::EmptyReply).await else { return };
    let played = play(&stage).await;
    assert_eq!((played.text.as_str(), played.outcome.reason), ("", EndReason::Complete));
}

/// Guarantee 2.
pub async fn a_reply_that_met_its_limit_says_so(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::Length).await else { return };
    let played = play(&stage).await;
    assert_eq!((played.text, played.outcome.reason), (stage.text, EndReason::Length));
}

/// Guarantee 2.
pub async fn a_stream_that_just_stops_is_truncated(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::EarlyStop).await else { return };
    let played = play(&stage).await;
    assert_eq!((played.text, played.outcome.reason), (stage.text, EndReason::Truncated));
}

/// `generate` fails before the first piece, and only then.
pub async fn an_error_before_the_first_piece_fails_the_call(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::ErrorBefore).await else { return };
    match patiently(stage.backend.generate(question())).await {
        Ok(_) => panic!("the call did not fail"),
        Err(error) => assert_eq!(Some(error.kind), stage.error, "{error}"),
    }
}

/// Guarantee 2.
pub async fn an_error_behind_pieces_keeps_them(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::ErrorAfter).await else { return };
    expect_failure_behind_text(&stage).await;
}

/// Guarantee 4.
pub async fn a_model_that_falls_silent_is_given_up_in_time(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::Stall).await else { return };
    assert_eq!(stage.error, Some(LlmErrorKind::Timeout), "a stall ends by a time limit");
    expect_failure_behind_text(&stage).await;
}

/// Guarantee 5, while the stream waits for more.
pub async fn dropping_the_stream_stops_the_model(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::Silence).await else { return };
    let mut stream = started(&stage).await;
    let mut text = String::new();
    while text.len() < stage.text.len() {
        match next(&mut stream).await {
            Some(LlmEvent::Text(piece)) => text.push_str(&piece),
            Some(LlmEvent::End(outcome)) => panic!("the stream ended: {outcome:?}"),
            Some(_) => {}
            None => panic!("the stream ended without an ending"),
        }
    }
    assert_eq!(text, stage.text);
    assert!(futures::poll!(stream.next()).is_pending(), "more came than the text");
    drop(stream);
    patiently(stage.stopped).await;
}

/// Guarantee 5, while the call waits for the first piece.
pub async fn dropping_the_call_stops_the_model(harness: &impl LlmHarness) {
    let Some(stage) = stage(harness, LlmScene::SilentStart).await else { return };
    let call = Arc::clone(&stage.backend);
    let call = tokio::spawn(async move { call.generate(question()).await.map(drop) });
    patiently(stage.reached).await;
    let mut stopped = stage.stopped;
    assert!(futures::poll!(&mut stopped).is_pending(), "the model stopped though nobody told it");
    call.abort();
    patiently(stopped).await;
    assert!(call.await.is_err_and(|error| error.is_cancelled()), "the call was answered");
}

/// One backend serves many at once.
pub async fn calls_at_the_same_time_do_not_mix(harness: &impl LlmHarness) {
    let stage = harness.stage(LlmScene::Reply).await;
    for played in join_all((0..8).map(|_| play(&stage))).await {
        assert_eq!(played.text, stage.text);
        assert_eq!(played.outcome.reason, EndReason::Complete);
    }
}

/// What people wrote stays out of errors.
pub async fn errors_do_not_repeat_the_question(harness: &impl LlmHarness) {
    for scene in [LlmScene::ErrorBefore, LlmScene::ErrorAfter, LlmScene::Stall] {
        let Some(stage) = stage(harness, scene).await else { continue };
        let error = match patiently(stage.backend.generate(question())).await {
            Err(error) => error,
            Ok(stream) => failure(drain(stream).await.outcome),
        };
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(QUESTION), "{scene:?}: {shown}");
    }
}

/// A name to show.
pub async fn the_model_has_a_name(harness: &impl LlmHarness) {
    let stage = harness.stage(LlmScene::Reply).await;
    assert!(!stage.backend.model().trim().is_empty());
}

/// The list of what does not apply is short, reasoned, and leaves the main thing.
pub async fn what_cannot_be_played_is_declared_with_its_reason(harness: &impl LlmHarness) {
    let declared = harness.cannot();
    let scenes: HashSet<LlmScene> = declared.iter().map(|(scene, _)| *scene).collect();
    assert_eq!(scenes.len(), declared.len(), "a scene is declared twice: {declared:?}");
    assert!(!scenes.contains(&LlmScene::Reply), "every backend can reply");
    assert!(declared.iter().all(|(_, reason)| !reason.trim().is_empty()), "{declared:?}");
    for scene in LlmScene::ALL.into_iter().filter(|scene| !scenes.contains(scene)) {
        let stage = harness.stage(scene).await;
        let fails = matches!(scene, LlmScene::ErrorBefore | LlmScene::ErrorAfter | LlmScene::Stall);
        assert_eq!(stage.error.is_some(), fails, "{scene:?}: the expected error");
        let silent =
            matches!(scene, LlmScene::EmptyReply | LlmScene::ErrorBefore | LlmScene::SilentStart);
        assert_eq!(stage.text.is_empty(), silent, "{scene:?}: the expected text");
    }
}

/// Makes a test of every check of [`LlmBackend`](crate::ports::LlmBackend).
///
/// Takes an async function without arguments that makes an
/// [`LlmHarness`](crate::testkit::llm::LlmHarness). Put each use into a module of its own.
#[macro_export]
macro_rules! llm_backend_tests {
    ($fresh:expr) => {
        $crate::__kit_checks! {
            $fresh, [$crate::testkit::llm],
            every_stream_has_one_ending_and_nothing_behind_it,
            a_whole_reply_is_complete_and_its_pieces_are_its_text,
            an_empty_reply_is_complete,
            a_reply_that_met_its_limit_says_so,
            a_stream_that_just_stops_is_truncated,
            an_error_before_the_first_piece_fails_the_call,
            an_error_behind_pieces_keeps_them,
            a_model_that_falls_silent_is_given_up_in_time,
            dropping_the_stream_stops_the_model,
            dropping_the_call_stops_the_model,
            calls_at_the_same_time_do_not_mix,
            errors_do_not_repeat_the_question,
            the_model_has_a_name,
            what_cannot_be_played_is_declared_with_its_reason,
        }
    };
}

/// A call that has run to its end.
struct Played {
    text: String,
    pieces: usize,
    outcome: LlmOutcome,
}

/// The stage of a scene, or `None` if the harness says that there can be none.
async fn stage(harness: &impl LlmHarness, scene: LlmScene) -> Option<LlmStage> {
    match harness.cannot().iter().find(|(declined, _)| *declined == scene) {
        None => Some(harness.stage(scene).await),
        Some((_, reason)) => {
            #[expect(clippy::print_stderr, reason = "a check that does not apply says so")]
            {
                eprintln!("{scene:?} does not apply to this backend: {reason}");
            }
            None
        }
    }
}

async fn started(stage: &LlmStage) -> LlmStream {
    let stream = patiently(stage.backend.generate(question())).await;
    stream.unwrap_or_else(|error| panic!("the call failed before its first piece: {error}"))
}

async fn play(stage: &LlmStage) -> Played {
    drain(started(stage).await).await
}

async fn drain(mut stream: LlmStream) -> Played {
    let (mut text, mut pieces) = (String::new(), 0);
    while let Some(event) = next(&mut stream).await {
        match event {
            LlmEvent::Text(piece) => {
                text.push_str(&piece);
                pieces += 1;
            }
            LlmEvent::Reasoning(_) => {}
            LlmEvent::End(outcome) => return Played { text, pieces, outcome },
        }
    }
    panic!("the stream ended without an ending");
}

async fn expect_failure_behind_text(stage: &LlmStage) {
    let played = play(stage).await;
    assert_eq!(played.text, stage.text);
    let error = failure(played.outcome);
    assert_eq!(Some(error.kind), stage.error, "{error}");
}

fn failure(outcome: LlmOutcome) -> LlmError {
    match outcome.reason {
        EndReason::Failed(error) => error,
        other => panic!("expected a failure, got {other:?}"),
    }
}

async fn next(stream: &mut LlmStream) -> Option<LlmEvent> {
    patiently(stream.next()).await
}

/// Waits for what must come, long enough for a slow machine.
async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("nothing came for a minute")
}

const QUESTION: &str = "Which of my neighbours owns the blue bicycle with the broken lamp?";
const PATIENCE: Duration = Duration::from_secs(60);
