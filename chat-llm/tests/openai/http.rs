//! What only a socket shows: statuses, headers, broken connections, clocks, repetitions.

use std::time::{Duration, Instant};

use crate::server::{
    Act, DONE, Server, answer, chunk, chunked_head, good, head, reason, stream, stream_head, text,
};
use chat_core::ports::{
    EndReason, LlmBackend as _, LlmError, LlmErrorKind, LlmEvent, LlmMessage, LlmOutcome,
    LlmRequest, LlmRole,
};
use chat_llm::{ConfigError, OpenAiBackend, OpenAiConfig, ProxyChoice};
use futures::StreamExt as _;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

fn question() -> LlmRequest {
    LlmRequest::new(vec![LlmMessage::new(LlmRole::User, "How much is the fish, dear friend?")])
}

async fn ask(backend: &OpenAiBackend) -> Result<(String, LlmOutcome), LlmError> {
    let mut stream = backend.generate(question()).await?;
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event {
            LlmEvent::Text(piece) => text.push_str(&piece),
            LlmEvent::End(outcome) => return Ok((text, outcome)),
            _ => {}
        }
    }
    panic!("no ending");
}

async fn error_of(script: Vec<Act>) -> LlmError {
    let server = Server::always(script).await;
    let mut config = server.config();
    config.retries.most = 0;
    ask(&OpenAiBackend::new(config).unwrap()).await.expect_err("an answer")
}

fn failed(outcome: LlmOutcome) -> LlmError {
    match outcome.reason {
        EndReason::Failed(error) => error,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test]
async fn the_request_is_what_the_api_wants() {
    let server = Server::always(good()).await;
    let config = server.config().with_api_key("key-1").with_header("X-Extra", "yes");
    ask(&OpenAiBackend::new(config).unwrap()).await.unwrap();
    let request = server.log().requests.remove(0);
    let lines: Vec<&str> = request.head.lines().collect();
    assert_eq!(lines[0], "post /v1/chat/completions http/1.1");
    for header in [
        "authorization: bearer key-1",
        "x-extra: yes",
        "content-type: application/json",
        "accept: text/event-stream",
    ] {
        assert!(lines.contains(&header), "{header} in {lines:?}");
    }
    assert!(!request.head.contains("accept-encoding"), "{lines:?}");
    assert_eq!(request.body["stream"], json!(true));
    assert_eq!(request.body["messages"][0]["role"], json!("user"));
}

#[tokio::test]
async fn a_body_that_is_cut_below_the_stream_keeps_its_text() {
    let fin = vec![chunked_head(), chunk(&text("part")), Act::Close];
    let inside = vec![chunked_head(), chunk(&text("part")), Act::Send(b"ff\r\nda".to_vec())];
    let reset = vec![chunked_head(), chunk(&text("part")), Act::Reset];
    let length = [b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_vec(), text("part").into()];
    let length = vec![Act::Send(length.concat()), Act::Close];
    for script in [fin, inside, reset, length] {
        let server = Server::always(script.clone()).await;
        let (text, outcome) = ask(&server.backend()).await.unwrap();
        let error = failed(outcome);
        assert_eq!((text.as_str(), error.kind), ("part", LlmErrorKind::Transport), "{script:?}");
        assert_eq!(server.log().requests.len(), 1, "nothing is repeated behind a piece");
    }
    let close = stream(&[text("part")], Act::Close);
    let (text, outcome) = ask(&Server::always(close).await.backend()).await.unwrap();
    assert_eq!((text.as_str(), outcome.reason), ("part", EndReason::Truncated));
}

#[tokio::test]
async fn content_types_are_not_trusted() {
    let events = format!("{}{}{DONE}", text("a"), reason("stop"));
    let whole = json!({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]});
    let table = [
        ("text/plain", events.clone()),
        ("application/json", events),
        ("application/json", whole.to_string()),
        ("text/event-stream", whole.to_string()),
    ];
    for (content_type, body) in table {
        let server = Server::always(answer(200, &[("content-type", content_type)], &body)).await;
        let (text, outcome) = ask(&server.backend()).await.unwrap();
        assert_eq!((text.as_str(), outcome.reason), ("a", EndReason::Complete), "{content_type}");
    }
    let odd = error_of(answer(200, &[("content-type", "text/plain")], "hello\n\nworld\n")).await;
    assert_eq!(odd.kind, LlmErrorKind::Protocol);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let quota =
        r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let overflow = r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_ctx":8}}"#;
    let table: [(u16, &str, LlmErrorKind); 8] = [
        (
            401,
            r#"{"error":{"message":"m","code":"invalid_api_key"}}"#,
            LlmErrorKind::Authentication,
        ),
        (429, quota, LlmErrorKind::QuotaExhausted),
        (429, r#"{"error":{"message":"m"}}"#, LlmErrorKind::RateLimited),
        (400, overflow, LlmErrorKind::ContextOverflow),
        (404, "404 page not found", LlmErrorKind::NotFound),
        (502, "<html><body><h1>502 Bad Gateway</h1></body></html>", LlmErrorKind::Server),
        (503, "no healthy upstream", LlmErrorKind::Overloaded),
        (200, r#"{"error":{"message":"m","code":"model_not_found"}}"#, LlmErrorKind::NotFound),
    ];
    for (status, body, kind) in table {
        let error = error_of(answer(status, &[], body)).await;
        assert_eq!((error.kind, error.status), (kind, Some(status)), "{body}: {error}");
    }
    let error = error_of(answer(502, &[], "<html><h1>502 Bad Gateway</h1></html>")).await;
    assert!(error.message.contains("502 Bad Gateway"), "{error}");
}

#[tokio::test]
async fn a_refusal_that_never_ends_is_bounded() {
    let long = format!("{}{}", "x".repeat(10_000), "y".repeat(1_000_000));
    let script = vec![Act::Send([head(500, &[]), long.into_bytes()].concat()), Act::Hold];
    let error = error_of(script).await;
    assert_eq!(error.kind, LlmErrorKind::Server);
    assert!(error.message.len() < 400, "{} bytes", error.message.len());
}

#[tokio::test]
async fn keys_do_not_come_back_in_errors() {
    let body =
        r#"{"error":{"message":"wrong key key-12345 for How much is the fish, dear friend?"}}"#;
    let server = Server::always(answer(401, &[], body)).await;
    let backend = OpenAiBackend::new(server.config().with_api_key("key-12345")).unwrap();
    let error = ask(&backend).await.expect_err("an answer");
    assert_eq!(error.message, "wrong key *** for […]");
    assert!(!format!("{backend:?}").contains("key-12345"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::always(good()).await;
    let location = format!("http://{}/v1/chat/completions", elsewhere.address);
    for status in [301, 302, 303, 307, 308] {
        let error = error_of(answer(status, &[("location", &location)], "")).await;
        assert_eq!((error.kind, error.status), (LlmErrorKind::Protocol, Some(status)));
    }
    assert_eq!(elsewhere.log().connections, 0);
}

#[tokio::test]
async fn passing_errors_are_repeated_before_the_first_piece() {
    let error_event = stream(
        &[r#"data: {"error":{"message":"m","type":"overloaded_error"}}"#.to_owned() + "\n\n"],
        Act::Close,
    );
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let table = [
        ("408", answer(408, &[], "")),
        ("409", answer(409, &[], "")),
        ("429", answer(429, &[], "")),
        ("500", answer(500, &[], "")),
        ("502", answer(502, &[], "<html>")),
        ("529", answer(529, &[], "")),
        ("told to", answer(418, &[("x-should-retry", "true")], "")),
        ("closed without a word", vec![Act::Close]),
        ("reset", vec![Act::Reset]),
        ("error event first", error_event),
        ("reset behind the role", vec![chunked_head(), chunk(role), Act::Reset]),
        ("empty body", answer(200, &[], "")),
        ("only [DONE]", answer(200, &[], DONE)),
    ];
    for (what, script) in table {
        let server = Server::start(vec![script, good()]).await;
        let (text, outcome) = ask(&server.backend()).await.unwrap();
        assert_eq!((text.as_str(), outcome.reason), ("fine", EndReason::Complete), "{what}");
        assert_eq!(server.log().requests.len(), 2, "{what}");
    }
}

#[tokio::test]
async fn lasting_errors_are_not_repeated() {
    let quota = r#"{"error":{"message":"m","code":"insufficient_quota"}}"#;
    let table = [
        ("400", answer(400, &[], "")),
        ("401", answer(401, &[], "")),
        ("quota", answer(429, &[], quota)),
        ("told not to", answer(500, &[("x-should-retry", "false")], "")),
        ("hours", answer(429, &[("retry-after", "7200")], "")),
        ("malformed", answer(200, &[], "data: {\n\n")),
    ];
    for (what, script) in table {
        let server = Server::always(script).await;
        let error = ask(&server.backend()).await.expect_err(what);
        assert_eq!(server.log().requests.len(), 1, "{what}: {error}");
    }
}

#[tokio::test]
async fn repetitions_are_counted() {
    let server = Server::always(answer(500, &[], "")).await;
    let error = ask(&server.backend()).await.expect_err("an answer");
    assert_eq!((error.kind, server.log().requests.len()), (LlmErrorKind::Server, 3));

    let server = Server::always(answer(200, &[], "")).await;
    let (text, outcome) = ask(&server.backend()).await.unwrap();
    assert_eq!((text.as_str(), outcome.reason), ("", EndReason::Truncated));
    assert_eq!(server.log().requests.len(), 2, "an answer of nothing is repeated once");
}

#[tokio::test]
async fn the_wait_that_the_provider_asks_for_is_kept_or_told() {
    let soon = answer(429, &[("retry-after-ms", "150"), ("retry-after", "60")], "");
    let server = Server::start(vec![soon, good()]).await;
    let start = Instant::now();
    ask(&server.backend()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());

    let late = answer(429, &[("retry-after", "7200")], "");
    let error = error_of(late).await;
    assert_eq!(error.retry_after, Some(Duration::from_secs(7200)));
}

#[tokio::test]
async fn a_wait_beyond_the_total_limit_is_not_begun() {
    let server = Server::always(answer(429, &[("retry-after", "60")], "")).await;
    let mut config = server.config();
    config.timeouts.total = Duration::from_secs(20);
    let start = Instant::now();
    let error = ask(&OpenAiBackend::new(config).unwrap()).await.expect_err("an answer");
    assert_eq!(error.kind, LlmErrorKind::RateLimited);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[tokio::test]
async fn each_clock_ends_the_call_and_is_named() {
    type Set = fn(&mut OpenAiConfig, Duration);
    let limit = Duration::from_millis(100);
    let table: [(&str, Vec<Act>, Set); 4] = [
        ("first-byte", vec![Act::Hold], |config, limit| config.timeouts.first_byte = limit),
        ("first-token", vec![Act::Send(stream_head()), Act::Hold], |config, limit| {
            config.timeouts.first_token = limit;
        }),
        ("total", vec![Act::Hold], |config, limit| config.timeouts.total = limit),
        ("total", stream(&[": still alive\n\n".to_owned()], Act::Hold), |config, limit| {
            config.timeouts.total = limit;
        }),
    ];
    for (clock, script, set) in table {
        let server = Server::always(script).await;
        let mut config = server.config();
        config.retries.most = 0;
        set(&mut config, limit);
        let error = ask(&OpenAiBackend::new(config).unwrap()).await.expect_err(clock);
        assert_eq!(error.kind, LlmErrorKind::Timeout, "{error}");
        assert!(error.message.contains(&format!("{clock} limit of 100ms")), "{clock}: {error}");
        server.watch().wait_for(|log| log.closed == 1).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_transport_error() {
    // A port that was just free; nothing listens there.
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut config = OpenAiConfig::new("m")
        .with_base_url(format!("http://{address}/v1"))
        .with_proxy(ProxyChoice::Direct);
    config.retries.most = 0;
    let error = ask(&OpenAiBackend::new(config).unwrap()).await.expect_err("an answer");
    assert_eq!(error.kind, LlmErrorKind::Transport, "{error}");
    assert!(error.message.starts_with("no connection: "), "{error}");
    assert!(!error.message.contains("http"), "{error}");
}

#[tokio::test]
async fn a_finished_stream_gives_its_connection_back() {
    let whole = [text("a"), reason("stop"), DONE.to_owned()].concat();
    // The end of the body comes with the last event, so that the connection is free at once.
    let last = Act::Send(
        [format!("{:x}\r\n{whole}\r\n", whole.len()), "0\r\n\r\n".into()].concat().into(),
    );
    let server = Server::always(vec![chunked_head(), last, Act::KeepAlive]).await;
    let backend = server.backend();
    for _ in 0..3 {
        ask(&backend).await.unwrap();
    }
    assert_eq!((server.log().connections, server.log().requests.len()), (1, 3));

    // A server that leaves the body open behind [DONE] is left, not waited for.
    let server = Server::always(vec![chunked_head(), chunk(&whole), Act::Hold]).await;
    let (text, outcome) = ask(&server.backend()).await.unwrap();
    assert_eq!((text.as_str(), outcome.reason), ("a", EndReason::Complete));
    server.watch().wait_for(|log| log.closed == 1).await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_named_is_used() {
    let proxy = Server::always(good()).await;
    let mut config = OpenAiConfig::new("m").with_base_url("http://models.invalid/v1");
    config.proxy = ProxyChoice::Url(format!("http://{}", proxy.address));
    let (text, _) = ask(&OpenAiBackend::new(config).unwrap()).await.unwrap();
    assert_eq!(text, "fine");
    let request = proxy.log().requests.remove(0);
    assert!(
        request.head.starts_with("post http://models.invalid/v1/chat/completions "),
        "{}",
        request.head
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_at_once() {
    let config = OpenAiConfig::new("m").with_base_url("api.openai.com/v1");
    let error = OpenAiBackend::new(config).err().unwrap();
    assert!(matches!(error, ConfigError::BaseUrl(_)), "{error}");
    assert_eq!(LlmError::from(error).kind, LlmErrorKind::Config);
}

#[tokio::test]
async fn https_speaks_tls_and_a_server_that_does_not_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let mut config = OpenAiConfig::new("m").with_base_url(url).with_proxy(ProxyChoice::Direct);
    config.retries.most = 0;
    let backend = OpenAiBackend::new(config).unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap()
    };
    let (first, reply) = tokio::join!(server, ask(&backend));
    let error = reply.expect_err("an answer");
    assert_eq!((first, error.kind), (TLS_HANDSHAKE, LlmErrorKind::Transport), "{error}");
}

/// The first byte of a TLS client's greeting.
const TLS_HANDSHAKE: u8 = 0x16;
