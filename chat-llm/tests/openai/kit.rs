//! The backend keeps the contract of the port, over a real socket.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use crate::server::{Act, DONE, Server, answer, reason, stream, text};
use async_trait::async_trait;
use chat_core::ports::{LlmBackend, LlmError, LlmErrorKind, LlmRequest, LlmStream};
use chat_core::testkit::llm::{LlmHarness, LlmScene, LlmStage, question};
use chat_llm::OpenAiBackend;

struct Harness;

#[async_trait]
impl LlmHarness for Harness {
    fn cannot(&self) -> &'static [(LlmScene, &'static str)] {
        &[]
    }

    async fn stage(&self, scene: LlmScene) -> LlmStage {
        let parts = ["Ein Kränich ", "zieht ", "🦢."];
        let told: String = parts.concat();
        let mut events = parts.map(text).to_vec();
        // Whoever echoes a question shall not be able to make the backend repeat it.
        let echo = question().messages.remove(1).text;
        let echo =
            serde_json::json!({"error": {"message": format!("bad input: {echo}"), "code": 400}});
        let (script, text, error) = match scene {
            LlmScene::EmptyReply => (stream(&[reason("stop")], Act::Close), "", None),
            LlmScene::Length => {
                events.extend([reason("length"), DONE.to_owned()]);
                (stream(&events, Act::Close), told.as_str(), None)
            }
            LlmScene::EarlyStop => (stream(&events, Act::Close), told.as_str(), None),
            LlmScene::ErrorBefore => {
                (answer(400, &[], &echo.to_string()), "", Some(LlmErrorKind::InvalidRequest))
            }
            LlmScene::ErrorAfter => {
                events.push(format!("data: {echo}\n\n"));
                let error = Some(LlmErrorKind::InvalidRequest);
                (stream(&events, Act::Close), told.as_str(), error)
            }
            LlmScene::Stall => {
                (stream(&events, Act::Hold), told.as_str(), Some(LlmErrorKind::Timeout))
            }
            LlmScene::Silence => (stream(&events, Act::Hold), told.as_str(), None),
            LlmScene::SilentStart => (vec![Act::Hold], "", None),
            _ => {
                events.extend([reason("stop"), DONE.to_owned()]);
                (stream(&events, Act::Close), told.as_str(), None)
            }
        };
        let server = Server::always(script).await;
        let mut config = server.config();
        if scene == LlmScene::Stall {
            config.timeouts.idle = Duration::from_millis(200);
        }
        let (mut requests, mut closings) = (server.watch(), server.watch());
        LlmStage {
            backend: Arc::new(Kept {
                backend: OpenAiBackend::new(config).unwrap(),
                _server: server,
            }),
            text: text.to_owned(),
            error,
            reached: Box::pin(async move {
                requests.wait_for(|log| !log.requests.is_empty()).await.unwrap();
            }),
            stopped: Box::pin(async move {
                closings.wait_for(|log| log.closed > 0).await.unwrap();
            }),
        }
    }
}

/// A backend together with the server that it asks.
#[derive(Debug)]
struct Kept {
    backend: OpenAiBackend,
    _server: Server,
}

#[async_trait]
impl LlmBackend for Kept {
    fn model(&self) -> &str {
        self.backend.model()
    }

    async fn generate(&self, request: LlmRequest) -> Result<LlmStream, LlmError> {
        self.backend.generate(request).await
    }
}

chat_core::llm_backend_tests!(|| ready(Harness));
