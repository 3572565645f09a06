//! What a scripted model does in one call, step by step.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{StreamExt as _, stream};

use crate::ports::{EndReason, LlmError, LlmEvent, LlmOutcome, LlmStream, LlmUsage};

/// What [`ScriptedLlm`](super::ScriptedLlm) does in one call: pieces and pauses in order, then one
/// ending.
///
/// Pauses use Tokio's clock, so paused time runs through them at once.
///
/// ```
/// use std::time::Duration;
/// use chat_core::llm::LlmScript;
/// use chat_core::ports::{EndReason, LlmError, LlmErrorKind};
///
/// let answers = LlmScript::reply("Good morning.");
/// let slow = LlmScript::pieces(["Good ", "morning."]).with_pause_between(Duration::from_secs(1));
/// let refused = LlmScript::refusal(LlmError::new(LlmErrorKind::RateLimited, "slower"));
/// let cut = LlmScript::reply("Good mor").ending(EndReason::Truncated);
/// let hangs = LlmScript::reply("Good mor").never_ending();
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LlmScript {
    opening: Opening,
    steps: Vec<Step>,
    ending: Ending,
}

impl LlmScript {
    /// One piece, then a complete ending.
    #[must_use]
    pub fn reply(text: impl Into<String>) -> Self {
        Self::pieces([text.into()])
    }

    /// These pieces, then a complete ending.
    #[must_use]
    pub fn pieces<I>(pieces: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let text = |piece: I::Item| Step::Give(LlmEvent::Text(piece.into()));
        Self {
            opening: Opening { delay: Duration::ZERO, error: None },
            steps: pieces.into_iter().map(text).collect(),
            ending: Ending::Says(LlmOutcome::new(EndReason::Complete)),
        }
    }

    /// No piece at all: the call itself fails.
    #[must_use]
    pub fn refusal(error: LlmError) -> Self {
        let mut script = Self::pieces(Vec::<String>::new());
        script.opening.error = Some(error);
        script
    }

    /// Waits before the call answers at all.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.opening.delay = delay;
        self
    }

    /// Adds a piece.
    #[must_use]
    pub fn then(mut self, text: impl Into<String>) -> Self {
        self.steps.push(Step::Give(LlmEvent::Text(text.into())));
        self
    }

    /// Adds a piece of what the model thinks.
    #[must_use]
    pub fn then_reasoning(mut self, text: impl Into<String>) -> Self {
        self.steps.push(Step::Give(LlmEvent::Reasoning(text.into())));
        self
    }

    /// Adds a silence.
    #[must_use]
    pub fn then_pause(mut self, pause: Duration) -> Self {
        self.steps.push(Step::Pause(pause));
        self
    }

    /// Puts a silence in front of each step that is there, and before the ending.
    #[must_use]
    pub fn with_pause_between(mut self, pause: Duration) -> Self {
        self.steps = self.steps.into_iter().flat_map(|step| [Step::Pause(pause), step]).collect();
        self.then_pause(pause)
    }

    /// Ends for this reason instead.
    #[must_use]
    pub fn ending(self, reason: EndReason) -> Self {
        self.edit_outcome(|outcome| outcome.reason = reason)
    }

    /// Ends with this error, behind the pieces.
    #[must_use]
    pub fn failing(self, error: LlmError) -> Self {
        self.ending(EndReason::Failed(error))
    }

    /// Reports this usage with the ending.
    #[must_use]
    pub fn with_usage(self, usage: LlmUsage) -> Self {
        self.edit_outcome(|outcome| outcome.usage = Some(usage))
    }

    /// Reports this model with the ending.
    #[must_use]
    pub fn with_model(self, model: impl Into<String>) -> Self {
        let model = model.into();
        self.edit_outcome(|outcome| outcome.model = Some(model))
    }

    /// Never ends: after the last step the stream stays silent until it is dropped.
    #[must_use]
    pub fn never_ending(mut self) -> Self {
        self.ending = Ending::Never;
        self
    }

    fn edit_outcome(mut self, edit: impl FnOnce(&mut LlmOutcome)) -> Self {
        let mut outcome = match self.ending {
            Ending::Says(outcome) => outcome,
            Ending::Never => LlmOutcome::new(EndReason::Complete),
        };
        edit(&mut outcome);
        self.ending = Ending::Says(outcome);
        self
    }

    /// Plays the script. `guard` lives exactly as long as the call, then the stream does.
    pub(super) async fn start<G: Send + 'static>(self, guard: G) -> Result<LlmStream, LlmError> {
        pause(self.opening.delay).await;
        if let Some(error) = self.opening.error {
            return Err(error);
        }
        let play = Play { steps: self.steps.into(), ending: Some(self.ending), _guard: guard };
        let events = stream::unfold(play, |mut play| async move {
            let event = play.next().await?;
            Some((event, play))
        });
        Ok(Box::pin(events.fuse()))
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Opening {
    delay: Duration,
    error: Option<LlmError>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Give(LlmEvent),
    Pause(Duration),
}

#[derive(Debug, Clone, PartialEq)]
enum Ending {
    Says(LlmOutcome),
    Never,
}

struct Play<G> {
    steps: VecDeque<Step>,
    ending: Option<Ending>,
    _guard: G,
}

impl<G> Play<G> {
    async fn next(&mut self) -> Option<LlmEvent> {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Give(event) => return Some(event),
                Step::Pause(length) => pause(length).await,
            }
        }
        match self.ending.take()? {
            Ending::Says(outcome) => Some(LlmEvent::End(outcome)),
            Ending::Never => std::future::pending().await,
        }
    }
}

/// A pause of nothing must not need a timer: scripts without pauses run on any executor.
async fn pause(length: Duration) {
    if !length.is_zero() {
        tokio::time::sleep(length).await;
    }
}
