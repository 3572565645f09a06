//! Finds what is to be answered, asks the model and sends its reply.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::prompt;
use crate::domain::{ChatKind, MessageId, MessageState, Rejection, message_event_id};
use crate::engine::{ChatError, ChatHandle, ChatListQuery, HistoryQuery, NewMessage, UserHandle};
use crate::id::{ChatId, ClientMessageId, UserId, Version};
use crate::ports::{EndReason, LlmBackend, LlmEvent, LlmRequest};

/// Makes a [`Responder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ResponderBuilder {
    bot: UserHandle,
    backend: Arc<dyn LlmBackend>,
    system_prompt: Option<String>,
    context_messages: usize,
    max_output_tokens: Option<u32>,
    concurrent_chats: usize,
    attempts: u32,
    reply_chars: usize,
    ignored: HashSet<UserId>,
}

/// A bot at work. It answers messages that mention it, and every message of a direct chat that it
/// is in; each question once, with a reply whose key follows from the question.
///
/// If the model fails, the reply says so in words, behind whatever text had come. While the model
/// works, the bot types.
///
/// Dropping it stops the bot; a reply under way is begun anew when a bot for the same user starts
/// again, here or in another process.
#[derive(Debug)]
pub struct Responder {
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// How a look at a chat ended.
enum Attended {
    /// Nothing is left to answer.
    Done,
    /// The store failed for long; look again.
    Later,
    /// Only a change of the chat makes another look worth it.
    GaveUp,
}

/// Characters of a reply that are taken from a model unless said otherwise.
const MAX_REPLY_CHARS: usize = 8_000;
/// The longest wait that a provider may ask for between attempts.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(60);
/// How often "is typing" is said again while the model works.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How long to wait after the engine refused or the model failed, doubled with each attempt.
const RETRY_WAIT: Duration = Duration::from_millis(500);

impl Responder {
    /// A responder that acts as this user.
    pub fn builder(bot: UserHandle, backend: Arc<dyn LlmBackend>) -> ResponderBuilder {
        ResponderBuilder {
            bot,
            backend,
            system_prompt: None,
            context_messages: 40,
            max_output_tokens: None,
            concurrent_chats: 8,
            attempts: 3,
            reply_chars: MAX_REPLY_CHARS,
            ignored: HashSet::new(),
        }
    }

    /// Stops the bot and waits until it has stopped.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // A task that panicked has stopped as well.
            let _ = task.await;
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl ResponderBuilder {
    /// What the model is told first.
    pub fn with_system_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.system_prompt = Some(prompt.into());
        self
    }

    /// How many messages the model sees, the question among them. Default 40.
    pub fn with_context_messages(mut self, messages: usize) -> Self {
        self.context_messages = messages;
        self
    }

    /// Bounds the length of replies. Default: as the model.
    pub fn with_max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// How many chats are answered at once. Default 8.
    pub fn with_concurrent_chats(mut self, chats: usize) -> Self {
        self.concurrent_chats = chats.max(1);
        self
    }

    /// How often the model is asked, if it fails before it said anything. Default 3.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Cuts a reply behind this many characters, and says so in it. Default 8,000, which is below
    /// the default of [`Limits::text_chars`](crate::domain::Limits).
    pub fn with_reply_chars(mut self, chars: usize) -> Self {
        self.reply_chars = chars;
        self
    }

    /// Never answers this user, such as another bot that would answer back.
    pub fn ignoring(mut self, user: UserId) -> Self {
        self.ignored.insert(user);
        self
    }

    /// Starts the bot, on the Tokio runtime that this is called in.
    #[must_use]
    pub fn start(self) -> Responder {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(Arc::new(self).run(stopped));
        Responder { stop, task: Some(task) }
    }

    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut changes = self.bot.watch();
        let mut waiting = tokio::select! {
            waiting = self.unanswered() => waiting,
            // An error means that the responder was dropped.
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let mut answering: HashMap<Id, ChatId> = HashMap::new();
        let mut tasks: JoinSet<Attended> = JoinSet::new();
        loop {
            let busy = |chat: &ChatId| answering.values().any(|other| other == chat);
            let ready: Vec<ChatId> = waiting.iter().filter(|chat| !busy(chat)).cloned().collect();
            for chat in ready {
                if tasks.len() >= self.concurrent_chats {
                    break;
                }
                waiting.remove(&chat);
                let responder = Arc::clone(&self);
                let attended = chat.clone();
                let task = tasks.spawn(async move { responder.attend(&attended).await });
                answering.insert(task.id(), chat);
            }
            tokio::select! {
                // An error means that the responder was dropped.
                _ = stopped.wait_for(|stop| *stop) => return,
                change = changes.next() => match change {
                    Some(chat) => { waiting.insert(chat); }
                    None => return,
                },
                Some(done) = tasks.join_next_with_id() => {
                    // A backend that panicked gave up as well.
                    let (id, attended) =
                        done.unwrap_or_else(|error| (error.id(), Attended::GaveUp));
                    if let (Some(chat), Attended::Later) = (answering.remove(&id), attended) {
                        waiting.insert(chat);
                    }
                },
            }
        }
    }

    /// The chats in which something may wait for an answer since before the bot started.
    async fn unanswered(&self) -> HashSet<ChatId> {
        let mut chats = HashSet::new();
        let mut query = ChatListQuery::top(ChatListQuery::MAX);
        loop {
            match self.bot.chats(query.clone()).await {
                Ok(page) => {
                    let unread = page.chats.into_iter().filter(|chat| chat.unread > 0);
                    chats.extend(unread.map(|chat| chat.chat));
                    match page.next {
                        Some(next) => query.after = Some(next),
                        None => return chats,
                    }
                }
                Err(error) if error.is_retryable() => tokio::time::sleep(RETRY_WAIT).await,
                Err(error) => {
                    tracing::warn!(%error, "the bot cannot see what it has to answer");
                    return chats;
                }
            }
        }
    }

    /// Answers what is unread in a chat, in order, and marks it as read.
    async fn attend(&self, chat: &ChatId) -> Attended {
        let chat = self.bot.chat(chat);
        let mut failures = 0;
        loop {
            match self.attend_page(&chat).await {
                Ok(true) => failures = 0,
                Ok(false) => return Attended::Done,
                Err(error) if error.is_retryable() && failures < 8 => {
                    tokio::time::sleep(RETRY_WAIT * (1 << failures)).await;
                    failures += 1;
                }
                Err(error) if error.is_retryable() => return Attended::Later,
                Err(
                    ChatError::Rejected(Rejection::NotMember | Rejection::ChatNotFound)
                    | ChatError::ShuttingDown,
                ) => return Attended::Done,
                Err(error) => {
                    tracing::warn!(chat = %chat.id(), %error, "the bot gave up on a chat for now");
                    return Attended::GaveUp;
                }
            }
        }
    }

    /// Answers a page of unread messages. False: there was none.
    async fn attend_page(&self, chat: &ChatHandle) -> Result<bool, ChatError> {
        let state = chat.read_state().await?;
        if state.unread == 0 {
            return Ok(false);
        }
        let direct = chat.open(1).await?.summary.kind == ChatKind::Direct;
        let page = chat.history(HistoryQuery::After(state.read), 100).await?;
        for message in &page.messages {
            if self.is_asked(message, direct) {
                self.answer(chat, message).await?;
            }
        }
        let read = page.messages.last().map_or(page.after, |message| message.seq.max(page.after));
        chat.mark_read(read.max(Version(1)), None).await?;
        Ok(true)
    }

    fn is_asked(&self, message: &MessageState, direct: bool) -> bool {
        let bot = self.bot.user();
        message.author != *bot
            && message.deleted.is_none()
            && !self.ignored.contains(&message.author)
            && (direct || message.mentions.contains(bot))
    }

    async fn answer(&self, chat: &ChatHandle, question: &MessageState) -> Result<(), ChatError> {
        let key = reply_key(question.id)?;
        let reply_id = message_event_id(chat.id(), self.bot.user(), &key);
        // Looked up first, for the model costs money: a crash may have come between the reply and
        // the mark that the question was read.
        match chat.message(reply_id.into()).await {
            Ok(_) => return Ok(()),
            Err(ChatError::Rejected(Rejection::MessageNotFound)) => {}
            Err(error) => return Err(error),
        }
        let before = HistoryQuery::Before(question.seq.next());
        let context = chat.history(before, self.context_messages.max(1)).await?;
        let system = self.system_prompt.as_deref();
        let bot = self.bot.user();
        let request = prompt::request(system, bot, &context.messages, self.max_output_tokens);
        let text = self.while_typing(chat, self.ask(request)).await;
        let reply = NewMessage::text(text).with_client_id(key).reply_to(question.id);
        match chat.send(reply).await {
            // Another process, or this one before a crash, has answered with other words.
            Ok(_) | Err(ChatError::IdempotencyConflict { .. }) => Ok(()),
            // The question was deleted meanwhile, or the chat does not take the reply. Asking the
            // model again would cost again and change nothing.
            Err(ChatError::Rejected(rejection)) => {
                tracing::warn!(chat = %chat.id(), %rejection, "the bot's reply was not taken");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn while_typing(&self, chat: &ChatHandle, work: impl Future<Output = String>) -> String {
        tokio::pin!(work);
        loop {
            // Typing is told, not promised; an error here is no reason not to answer.
            let _ = chat.typing(true).await;
            tokio::select! {
                text = &mut work => return text,
                () = tokio::time::sleep(TYPING_EVERY) => {}
            }
        }
    }

    /// The reply, or words that say why there is none.
    async fn ask(&self, request: LlmRequest) -> String {
        let mut attempt = 1;
        loop {
            let (text, end) = self.generate(request.clone()).await;
            let note = match &end {
                EndReason::Complete | EndReason::Other if !text.is_empty() => return text,
                EndReason::Complete | EndReason::Other => "the model said nothing".into(),
                EndReason::Length => "the reply was cut at the limit of its length".into(),
                EndReason::ContentFilter => "the provider withheld the rest".into(),
                EndReason::ToolCalls => "the model asked for a tool, and there is none".into(),
                EndReason::Truncated => "the reply broke off".into(),
                EndReason::Failed(error) => {
                    let again = text.is_empty() && error.is_retryable();
                    if again && attempt < self.attempts {
                        let wait = error.retry_after.unwrap_or(RETRY_WAIT * (1 << attempt.min(5)));
                        tokio::time::sleep(wait.min(MAX_RETRY_WAIT)).await;
                        attempt += 1;
                        continue;
                    }
                    tracing::warn!(kind = %error.kind, "the model failed");
                    format!("the model could not answer: {}", error.kind)
                }
            };
            let gap = if text.is_empty() { "" } else { "\n\n" };
            return format!("{text}{gap}[{note}]");
        }
    }

    async fn generate(&self, request: LlmRequest) -> (String, EndReason) {
        let mut text = String::new();
        let mut room = self.reply_chars;
        let mut pieces = match self.backend.generate(request).await {
            Ok(pieces) => pieces,
            Err(error) => return (text, EndReason::Failed(error)),
        };
        while let Some(piece) = pieces.next().await {
            match piece {
                LlmEvent::Text(piece) => {
                    for character in piece.chars() {
                        if room == 0 {
                            return (text, EndReason::Length);
                        }
                        text.push(character);
                        room -= 1;
                    }
                }
                LlmEvent::Reasoning(_) => {}
                LlmEvent::End(outcome) => return (text, outcome.reason),
            }
        }
        // A backend that keeps its contract does not come here.
        (text, EndReason::Truncated)
    }
}

/// The key of the reply to a question: the same in every process and after every crash.
fn reply_key(question: MessageId) -> Result<ClientMessageId, ChatError> {
    ClientMessageId::new(format!("reply-{question}"))
        .map_err(|_| ChatError::Rejected(Rejection::MessageNotFound))
}
