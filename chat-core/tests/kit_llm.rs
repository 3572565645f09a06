//! The models that need no network keep the contract of the port.

mod scripted {
    use std::future::ready;
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use chat_core::llm::{LlmScript, ScriptedLlm};
    use chat_core::ports::{EndReason, LlmError, LlmErrorKind};
    use chat_core::testkit::llm::{LlmHarness, LlmScene, LlmStage};

    struct Harness;

    #[async_trait]
    impl LlmHarness for Harness {
        fn cannot(&self) -> &'static [(LlmScene, &'static str)] {
            &[(LlmScene::Stall, "a script has no time limit of its own")]
        }

        async fn stage(&self, scene: LlmScene) -> LlmStage {
            let (text, error) = match scene {
                LlmScene::EmptyReply | LlmScene::SilentStart => ("", None),
                LlmScene::ErrorBefore => ("", Some(LlmErrorKind::RateLimited)),
                LlmScene::ErrorAfter => ("Ein Kranich zieht", Some(LlmErrorKind::Server)),
                _ => ("Ein Kränich zieht 🦢.", None),
            };
            let pieces = text.split_inclusive(' ').map(str::to_owned);
            let script = LlmScript::pieces(pieces);
            let failed = error.map(|kind| LlmError::new(kind, "scripted"));
            let script = match (scene, failed) {
                (LlmScene::Length, _) => script.ending(EndReason::Length),
                (LlmScene::EarlyStop, _) => script.ending(EndReason::Truncated),
                (LlmScene::ErrorBefore, Some(error)) => LlmScript::refusal(error),
                (LlmScene::ErrorAfter, Some(error)) => script.failing(error),
                (LlmScene::Silence, _) => script.never_ending(),
                (LlmScene::SilentStart, _) => script.with_delay(Duration::MAX),
                _ => script,
            };
            let llm = ScriptedLlm::new().with_fallback(move |_| script.clone());
            let (called, watched) = (llm.clone(), llm.clone());
            let reached = Box::pin(async move { called.wait_for_calls(1).await });
            let stopped = Box::pin(async move {
                watched.wait_for_calls(1).await;
                watched.wait_for_open_calls(0).await;
            });
            LlmStage { backend: Arc::new(llm), text: text.to_owned(), error, reached, stopped }
        }
    }

    chat_core::llm_backend_tests!(|| ready(Harness));
}

mod offline {
    use std::future::ready;
    use std::sync::Arc;

    use async_trait::async_trait;
    use chat_core::llm::OfflineLlm;
    use chat_core::testkit::llm::{LlmHarness, LlmScene, LlmStage};

    struct Harness;

    const ALWAYS_WHOLE: &str = "it has the whole of its one text at once";

    #[async_trait]
    impl LlmHarness for Harness {
        fn cannot(&self) -> &'static [(LlmScene, &'static str)] {
            &[
                (LlmScene::EmptyReply, "its text always says something"),
                (LlmScene::Length, ALWAYS_WHOLE),
                (LlmScene::EarlyStop, ALWAYS_WHOLE),
                (LlmScene::ErrorBefore, "there is nothing that could fail"),
                (LlmScene::ErrorAfter, "there is nothing that could fail"),
                (LlmScene::Stall, ALWAYS_WHOLE),
                (LlmScene::Silence, ALWAYS_WHOLE),
                (LlmScene::SilentStart, ALWAYS_WHOLE),
            ]
        }

        async fn stage(&self, _scene: LlmScene) -> LlmStage {
            let llm = OfflineLlm::new();
            let text = llm.text().to_owned();
            let (reached, stopped) = (Box::pin(ready(())), Box::pin(ready(())));
            LlmStage { backend: Arc::new(llm), text, error: None, reached, stopped }
        }
    }

    chat_core::llm_backend_tests!(|| ready(Harness));
}

/// The checks fail for backends that break the contract; else they would prove nothing.
mod broken {
    use std::panic::AssertUnwindSafe;
    use std::sync::Arc;

    use async_trait::async_trait;
    use chat_core::llm::{LlmScript, ScriptedLlm};
    use chat_core::ports::{
        EndReason, LlmBackend, LlmError, LlmErrorKind, LlmEvent, LlmOutcome, LlmRequest, LlmStream,
    };
    use chat_core::testkit::llm::{self, LlmHarness, LlmScene, LlmStage};
    use futures::future::{FutureExt as _, ready};
    use futures::{StreamExt as _, stream};

    /// Says more behind the ending.
    #[derive(Debug)]
    struct Talkative(ScriptedLlm);

    #[async_trait]
    impl LlmBackend for Talkative {
        fn model(&self) -> &str {
            self.0.model()
        }

        async fn generate(&self, request: LlmRequest) -> Result<LlmStream, LlmError> {
            let end = LlmEvent::End(LlmOutcome::new(EndReason::Complete));
            Ok(self.0.generate(request).await?.chain(stream::iter([end])).boxed())
        }
    }

    /// What the backend really does, whatever scene is asked for.
    struct Harness(fn() -> LlmScript);

    #[async_trait]
    impl LlmHarness for Harness {
        fn cannot(&self) -> &'static [(LlmScene, &'static str)] {
            &[]
        }

        async fn stage(&self, _scene: LlmScene) -> LlmStage {
            let script = self.0;
            LlmStage {
                backend: Arc::new(Talkative(ScriptedLlm::new().with_fallback(move |_| script()))),
                text: "one two".to_owned(),
                error: Some(LlmErrorKind::Server),
                reached: Box::pin(ready(())),
                stopped: Box::pin(ready(())),
            }
        }
    }

    #[expect(clippy::panic, reason = "a helper of tests")]
    async fn fails(check: impl Future<Output = ()>) -> String {
        match AssertUnwindSafe(check).catch_unwind().await {
            Ok(()) => panic!("the check passed"),
            Err(panic) => panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text),
        }
    }

    #[tokio::test]
    async fn an_event_behind_the_ending_is_noticed() {
        let harness = Harness(|| LlmScript::pieces(["one ", "two"]));
        let message = fails(llm::every_stream_has_one_ending_and_nothing_behind_it(&harness));
        assert!(message.await.contains("behind the ending"));
    }

    #[tokio::test]
    async fn a_cut_reply_that_claims_to_be_whole_is_noticed() {
        let harness = Harness(|| LlmScript::pieces(["one ", "two"]));
        let message = fails(llm::a_stream_that_just_stops_is_truncated(&harness));
        assert!(message.await.contains("Truncated"));
    }

    #[tokio::test]
    async fn lost_text_is_noticed() {
        let harness = Harness(|| LlmScript::pieces(["one"]));
        let message = fails(llm::a_whole_reply_is_complete_and_its_pieces_are_its_text(&harness));
        assert!(message.await.contains("one two"));
    }

    #[tokio::test]
    async fn an_error_that_quotes_the_question_is_noticed() {
        let harness = Harness(|| {
            let text = llm::question().messages.remove(1).text;
            LlmScript::reply("one two").failing(LlmError::new(LlmErrorKind::Server, text))
        });
        let message = fails(llm::errors_do_not_repeat_the_question(&harness));
        assert!(message.await.contains("bicycle"));
    }
}
