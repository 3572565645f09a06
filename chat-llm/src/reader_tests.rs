//! Every way in which bytes may come, without a socket.

use chat_core::ports::{EndReason, LlmMessage, LlmRequest, LlmRole, LlmUsage};
use serde_json::json;

use super::*;
use crate::config::DoneWithoutReason;

/// What a body does.
#[derive(Clone)]
enum Step {
    Bytes(Bytes),
    Pause(Duration),
    Break,
    Silence,
}

struct Steps(VecDeque<Step>);

impl Body for Steps {
    async fn next(&mut self) -> Result<Option<Bytes>, LlmError> {
        while let Some(step) = self.0.pop_front() {
            match step {
                Step::Bytes(bytes) => return Ok(Some(bytes)),
                Step::Pause(pause) => tokio::time::sleep(pause).await,
                Step::Break => return Err(LlmError::new(LlmErrorKind::Transport, "it broke")),
                Step::Silence => std::future::pending().await,
            }
        }
        Ok(None)
    }
}

/// What came of an answer.
#[derive(Debug, Clone, PartialEq)]
struct Got {
    text: String,
    reasoning: String,
    end: LlmOutcome,
}

impl Got {
    /// The end in a word, for tables.
    fn end(&self) -> String {
        match &self.end.reason {
            EndReason::Failed(error) => format!("{:?}", error.kind),
            reason => format!("{reason:?}"),
        }
    }
}

async fn read_with(steps: Vec<Step>, config: &OpenAiConfig) -> Got {
    let question = LlmMessage::new(LlmRole::User, "What is it that nobody may quote?");
    let discretion = Discretion::new(Arc::from([]), LlmRequest::new(vec![question]));
    let sent = Instant::now();
    let limits = config.timeouts.clone();
    let total = after(sent, limits.total);
    let deadlines = Deadlines { limits, sent, total };
    let body = Steps(steps.into());
    let mut events = Reader::new(body, config, deadlines, true, Arc::new(discretion)).into_stream();
    let (mut text, mut reasoning) = (String::new(), String::new());
    loop {
        match events.next().await {
            Some(LlmEvent::Text(piece)) => text.push_str(&piece),
            Some(LlmEvent::Reasoning(piece)) => reasoning.push_str(&piece),
            Some(LlmEvent::End(end)) => {
                assert_eq!(events.next().await, None, "an event behind the ending");
                assert_eq!(events.next().await, None, "a stream that goes on");
                return Got { text, reasoning, end };
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn read(wire: &[u8]) -> Got {
    read_with(vec![bytes(wire)], &OpenAiConfig::new("m")).await
}

fn bytes(bytes: impl AsRef<[u8]>) -> Step {
    Step::Bytes(Bytes::copy_from_slice(bytes.as_ref()))
}

/// A chunk with this text, as an event.
fn text(text: &str) -> String {
    let chunk = json!({"id": "1", "object": "chat.completion.chunk", "model": "m-1",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

fn reason(reason: &str) -> String {
    let chunk = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    format!("data: {chunk}\n\n")
}

const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn every_split_of_a_stream_gives_the_same_reply() {
    let start = r#"data: {"choices":[{"delta":{"role":"assistant","content":null}}]}"#;
    let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
    let wire = format!(
        "\u{FEFF}: hi\r\n\r\n{start}\r\n\r\n{}{}{}{usage}\r\r{DONE}",
        text("Grüße 🦀"),
        text("日本語\n\"é\""),
        reason("stop")
    );
    let wire = wire.as_bytes();
    let expected = Got {
        text: "Grüße 🦀日本語\n\"é\"".to_owned(),
        reasoning: String::new(),
        end: LlmOutcome::new(EndReason::Complete)
            .with_raw_reason(Some("stop".to_owned()))
            .with_usage(Some(LlmUsage::new(7, 3)))
            .with_model(Some("m-1".to_owned())),
    };
    let config = OpenAiConfig::new("m");
    for split in 0..=wire.len() {
        let steps = vec![bytes(&wire[..split]), bytes(&wire[split..])];
        assert_eq!(read_with(steps, &config).await, expected, "split at {split}");
    }
    for size in [1, 2, 3, 5, 64] {
        let steps = wire.chunks(size).map(bytes).collect();
        assert_eq!(read_with(steps, &config).await, expected, "portions of {size}");
    }
}

#[tokio::test]
async fn a_stream_cut_anywhere_before_its_reason_is_truncated() {
    let wire = format!("{}{}{}", text("ab"), text("é"), reason("stop"));
    let whole = wire.len();
    let second = text("ab").len();
    let third = second + text("é").len();
    for cut in 0..whole {
        let got = read(&wire.as_bytes()[..cut]).await;
        let expected = match cut {
            cut if cut < second => "",
            cut if cut < third => "ab",
            _ => "abé",
        };
        assert_eq!((got.text.as_str(), got.end()), (expected, "Truncated".to_owned()), "{cut}");
    }
    assert_eq!(read(wire.as_bytes()).await.end(), "Complete");
}

/// Each row: what it is, the wire, the text, how it ends.
#[tokio::test]
async fn deviations_that_servers_have() {
    let a = text("a");
    let stop = reason("stop");
    let call = r#"data: {"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{"}}]}}]}"#;
    let rows: Vec<(&str, String, &str, &str)> = vec![
        ("plain", format!("{a}{stop}{DONE}"), "a", "Complete"),
        ("no space", format!("{a}{stop}{DONE}").replace("data: ", "data:"), "a", "Complete"),
        ("CR only", format!("{a}{stop}{DONE}").replace('\n', "\r"), "a", "Complete"),
        ("CR LF", format!("{a}{stop}{DONE}").replace('\n', "\r\n"), "a", "Complete"),
        ("comments", format!(": x\n\n:\n{a}:\n: PROCESSING\n\n{stop}{DONE}"), "a", "Complete"),
        ("keepalive", format!("event: keepalive\ndata: {{}}\n\n{a}{stop}"), "a", "Complete"),
        ("ping", format!("event: ping\ndata: pong\n\n{a}{stop}"), "a", "Complete"),
        ("empty data", format!("data:\n\ndata\n\n{a}{stop}{DONE}"), "a", "Complete"),
        ("id, retry", format!("id: 1\nretry: 5\nodd: 1\n{a}{stop}{DONE}"), "a", "Complete"),
        ("lines", a.replace("\"choices\"", "\ndata: \"choices\"") + &stop, "a", "Complete"),
        ("named event", format!("event: message\n{a}event: x\n{stop}"), "a", "Complete"),
        ("empty object", format!("data: {{}}\n\n{a}{stop}{DONE}"), "a", "Complete"),
        (
            "first Azure chunk",
            format!(
                "data: {{\"choices\":[],\"id\":\"\",\"model\":\"\",\"prompt_filter_results\":[]}}\n\n{a}{stop}{DONE}"
            ),
            "a",
            "Complete",
        ),
        (
            "no delta",
            format!("data: {{\"choices\":[{{\"content_filter_offsets\":{{}}}}]}}\n\n{a}{stop}"),
            "a",
            "Complete",
        ),
        (
            "delta null",
            format!(
                "data: {{\"choices\":[{{\"delta\":null,\"finish_reason\":\"stop\"}}]}}\n\n{DONE}"
            ),
            "",
            "Complete",
        ),
        (
            "choices null",
            format!("data: {{\"choices\":null,\"usage\":null}}\n\n{a}{stop}"),
            "a",
            "Complete",
        ),
        (
            "odd fields",
            format!(
                "data: {{\"id\":7,\"model\":null,\"created\":\"x\",\"service_tier\":\"new\",\"choices\":[{{\"delta\":{{\"role\":\"\",\"content\":\"a\"}},\"logprobs\":3}}]}}\n\n{stop}"
            ),
            "a",
            "Complete",
        ),
        (
            "moderation chunk",
            format!(
                "{a}data: {{\"moderation\":{{\"flagged\":false}},\"obfuscation\":\"xyz\"}}\n\n{stop}"
            ),
            "a",
            "Complete",
        ),
        ("no [DONE]", format!("{a}{stop}"), "a", "Complete"),
        ("no reason, no [DONE]", a.clone(), "a", "Truncated"),
        ("[DONE], no reason", format!("{a}{DONE}"), "a", "Truncated"),
        ("only [DONE]", DONE.to_owned(), "", "Truncated"),
        ("nothing", String::new(), "", "Truncated"),
        ("blank lines", "\n\n \n".to_owned(), "", "Truncated"),
        ("reason is empty", format!("{a}{}{DONE}", reason("")), "a", "Truncated"),
        ("empty, then real", format!("{}{a}{stop}", reason("")), "a", "Complete"),
        ("two reasons", format!("{a}{}{stop}{DONE}", reason("length")), "a", "Length"),
        (
            "reason with text",
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}},\"finish_reason\":\"stop\"}}]}}\n\n{DONE}"
            ),
            "a",
            "Complete",
        ),
        ("text behind the reason", format!("{a}{stop}{a}{DONE}"), "aa", "Complete"),
        ("text behind [DONE]", format!("{a}{stop}{DONE}{a}"), "a", "Complete"),
        ("length", format!("{a}{}{DONE}", reason("length")), "a", "Length"),
        ("filter", format!("{a}{}{DONE}", reason("content_filter")), "a", "ContentFilter"),
        ("tool_calls", format!("{a}{}{DONE}", reason("tool_calls")), "a", "ToolCalls"),
        ("function_call", format!("{a}{}{DONE}", reason("function_call")), "a", "ToolCalls"),
        ("stop with a call", format!("{call}\n\n{stop}{DONE}"), "", "ToolCalls"),
        ("call cut by length", format!("{call}\n\n{}{DONE}", reason("length")), "", "Length"),
        ("call without an end", format!("{call}\n\n"), "", "Truncated"),
        ("eos", format!("{a}{}", reason("eos_token")), "a", "Complete"),
        ("unknown reason", format!("{a}{}", reason("abort")), "a", "Other"),
        ("reason error", format!("{a}{}", reason("error")), "a", "Server"),
        (
            "second choice",
            format!(
                "{a}data: {{\"choices\":[{{\"index\":1,\"delta\":{{\"content\":\"b\"}}}}]}}\n\n"
            ),
            "a",
            "Protocol",
        ),
        ("malformed", format!("{a}data: {{\"choices\":[}}\n\n{stop}"), "a", "Protocol"),
        ("cut JSON", format!("{a}data: {{\"choices\":\n\n{stop}"), "a", "Protocol"),
        ("no JSON", format!("{a}data: hello\n\n{stop}"), "a", "Protocol"),
        ("list", format!("{a}data: [1]\n\n{stop}"), "a", "Protocol"),
        (
            "content is a number",
            format!("{a}data: {{\"choices\":[{{\"delta\":{{\"content\":1}}}}]}}\n\n"),
            "a",
            "Protocol",
        ),
        (
            "content in parts",
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":[{{\"type\":\"text\",\"text\":\"a\"}},\"b\"]}}}}]}}\n\n{stop}"
            ),
            "ab",
            "Complete",
        ),
        (
            "refusal",
            format!("data: {{\"choices\":[{{\"delta\":{{\"refusal\":\"no\"}}}}]}}\n\n{stop}"),
            "no",
            "Other",
        ),
        (
            "error event",
            format!(
                "{a}data: {{\"error\":{{\"message\":\"m\",\"code\":null,\"type\":\"server_error\"}}}}\n\n{stop}"
            ),
            "a",
            "Server",
        ),
        (
            "error with choices",
            format!(
                "{a}data: {{\"error\":{{\"code\":429,\"message\":\"m\"}},\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"error\"}}]}}\n\n"
            ),
            "a",
            "RateLimited",
        ),
        ("error is text", format!("{a}data: {{\"error\":\"overloaded\"}}\n\n"), "a", "Server"),
        (
            "event: error",
            format!("{a}event: error\ndata: {{\"message\":\"m\",\"code\":\"slow_down\"}}\n\n"),
            "a",
            "RateLimited",
        ),
        (
            "bare message",
            format!("{a}data: {{\"message\":\"m\",\"type\":\"overloaded_error\"}}\n\n"),
            "a",
            "Overloaded",
        ),
        (
            "object error",
            format!("{a}data: {{\"object\":\"error\",\"message\":\"m\",\"code\":400}}\n\n"),
            "a",
            "InvalidRequest",
        ),
        (
            "error in a list",
            format!("{a}data: [{{\"error\":{{\"code\":503,\"message\":\"m\"}}}}]\n\n"),
            "a",
            "Overloaded",
        ),
        (
            "error without choices, null error",
            format!(
                "data: {{\"error\":null,\"choices\":[{{\"delta\":{{\"content\":\"a\"}}}}]}}\n\n{stop}"
            ),
            "a",
            "Complete",
        ),
        (
            "error behind the reason",
            format!("{a}{stop}data: {{\"error\":{{\"message\":\"m\"}}}}\n\n"),
            "a",
            "Server",
        ),
        ("markup", "<!doctype html><p>Bad".to_owned(), "", "Protocol"),
    ];
    for (what, wire, text, end) in rows {
        let got = read(wire.as_bytes()).await;
        assert_eq!((got.text.as_str(), got.end().as_str()), (text, end), "{what}: {got:?}");
        let bytewise = wire.as_bytes().chunks(1).map(bytes).collect();
        assert_eq!(read_with(bytewise, &OpenAiConfig::new("m")).await, got, "{what}, bytewise");
    }
}

#[tokio::test]
async fn reasoning_comes_apart_from_text_and_once() {
    let table = [
        json!({"reasoning_content": "hm"}),
        json!({"reasoning": "hm"}),
        json!({"reasoning": "hm", "reasoning_content": "hm", "content": ""}),
        json!({"reasoning": "hm", "reasoning_content": "", "reasoning_details": [{"text": "hm"}]}),
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        json!({"content": [{"type": "thinking", "thinking": "hm"}]}),
    ];
    for delta in table {
        let chunk = json!({"choices": [{"delta": delta}]});
        let got =
            read(format!("data: {chunk}\n\n{}{}", text("a"), reason("stop")).as_bytes()).await;
        assert_eq!((got.reasoning.as_str(), got.text.as_str()), ("hm", "a"), "{chunk}");
    }
}

#[tokio::test]
async fn the_last_count_of_tokens_wins() {
    let usage =
        |usage: serde_json::Value| format!("data: {}\n\n", json!({"choices": [], "usage": usage}));
    let growing = format!(
        "{}{}{}{}",
        usage(json!({"prompt_tokens": 5, "completion_tokens": 1})),
        usage(json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})),
        usage(serde_json::Value::Null),
        usage(json!({})),
    );
    let table = [
        (growing, Some(LlmUsage::new(5, 2))),
        (usage(json!({"prompt_tokens": 4.0})), Some(LlmUsage::new(4, 0))),
        (usage(json!({"input_tokens": 3, "output_tokens": 2})), Some(LlmUsage::new(3, 2))),
        (usage(json!("many")), None),
        (
            format!(
                "data: {}\n\n",
                json!({"x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}})
            ),
            Some(LlmUsage::new(1, 2)),
        ),
    ];
    for (wire, expected) in table {
        let got = read(format!("{}{}{wire}{DONE}", text("a"), reason("stop")).as_bytes()).await;
        assert_eq!((got.end.usage, got.end()), (expected, "Complete".to_owned()), "{wire}");
    }
}

#[tokio::test]
async fn a_json_answer_is_taken_as_a_whole_reply() {
    let whole = json!({"object": "chat.completion", "model": "m-2",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi é", "reasoning": "hm"},
            "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let wire = format!("\n\n {whole}\n");
    for portions in [1, 7, wire.len()] {
        let steps = wire.as_bytes().chunks(portions).map(bytes).collect();
        let got = read_with(steps, &OpenAiConfig::new("m")).await;
        assert_eq!((got.text.as_str(), got.reasoning.as_str()), ("hi é", "hm"));
        assert_eq!(got.end(), "Complete");
        assert_eq!(got.end.model.as_deref(), Some("m-2"));
        assert_eq!(got.end.usage, Some(LlmUsage::new(1, 2)));
    }
    for cut in 3..wire.len() - 2 {
        let got = read(&wire.as_bytes()[..cut]).await;
        assert_eq!((got.text.as_str(), got.end()), ("", "Truncated".to_owned()), "{cut}");
    }
    let table = [
        (r#"{"error":{"message":"m","code":"model_not_found"}}"#, "NotFound"),
        (r#"[{"error":{"message":"m","code":401}}]"#, "Authentication"),
        (r#"{"error":"boom"}"#, "Server"),
        (r#"{"detail":"Not Found"}"#, "Server"),
        (r#"{"hello":1}"#, "Protocol"),
        (r#"{"choices":[]}"#, "Protocol"),
        (r#"{"choices":[{"message":{"content":"a"}}]} x"#, "Protocol"),
        (r#"{"choices":[{"message":{"content":"a"}}]}"#, "Truncated"),
    ];
    for (wire, end) in table {
        assert_eq!(read(wire.as_bytes()).await.end(), end, "{wire}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_replaced_and_the_reply_goes_on() {
    let mut wire = text("a?b").into_bytes();
    let place = wire.iter().position(|byte| *byte == b'?').unwrap();
    wire[place] = 0xFF;
    wire.extend_from_slice(reason("stop").as_bytes());
    let got = read(&wire).await;
    assert_eq!((got.text.as_str(), got.end()), ("a\u{FFFD}b", "Complete".to_owned()));
}

#[tokio::test]
async fn a_long_line_is_taken_up_to_the_limit_and_no_further() {
    let mut config = OpenAiConfig::new("m");
    config.max_line_bytes = 8 * 1024 * 1024 + 1024;
    let long = "x".repeat(8 * 1024 * 1024);
    let wire = format!("{}{}", text(&long), reason("stop"));
    let steps = || wire.as_bytes().chunks(16 * 1024).map(bytes).collect::<Vec<_>>();
    let got = read_with(steps(), &config).await;
    assert_eq!((got.text.len(), got.end()), (long.len(), "Complete".to_owned()));

    config.max_line_bytes = 1024 * 1024;
    assert_eq!(read_with(steps(), &config).await.end(), "Protocol");
    let json = vec![bytes("{\"choices\":"), bytes(" ".repeat(1024 * 1024))];
    assert_eq!(read_with(json, &config).await.end(), "Protocol");
}

#[tokio::test]
async fn a_server_that_never_gives_reasons_can_be_trusted_on_demand() {
    let mut config = OpenAiConfig::new("m");
    config.done_without_reason = DoneWithoutReason::Complete;
    let done = read_with(vec![bytes(text("a")), bytes(DONE)], &config).await;
    assert_eq!(done.end(), "Complete");
    assert_eq!(read_with(vec![bytes(text("a"))], &config).await.end(), "Truncated");
}

#[tokio::test]
async fn a_break_behind_the_reason_changes_nothing() {
    let config = OpenAiConfig::new("m");
    let broken = vec![bytes(text("a")), Step::Break];
    let got = read_with(broken, &config).await;
    assert_eq!((got.text.as_str(), got.end()), ("a", "Transport".to_owned()));
    let late = vec![bytes(text("a")), bytes(reason("stop")), Step::Break];
    assert_eq!(read_with(late, &config).await.end(), "Complete");
}

async fn timed(steps: Vec<Step>) -> (Duration, Got) {
    let start = Instant::now();
    let got = read_with(steps, &OpenAiConfig::new("m")).await;
    (start.elapsed(), got)
}

fn timeout_message(got: &Got) -> &str {
    match &got.end.reason {
        EndReason::Failed(error) if error.kind == LlmErrorKind::Timeout => &error.message,
        other => panic!("expected a timeout, got {other:?}"),
    }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn silence_behind_some_text_ends_by_the_idle_clock() {
    let (took, got) = timed(vec![bytes(text("a")), Step::Silence]).await;
    assert_eq!((took, got.text.as_str()), (secs(60), "a"));
    assert!(timeout_message(&got).contains("idle limit of 60s"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn any_byte_resets_the_idle_clock() {
    let mut steps = vec![bytes(text("a"))];
    for _ in 0..4 {
        steps.extend([Step::Pause(secs(59)), bytes(":")]);
    }
    steps.push(Step::Silence);
    let (took, got) = timed(steps).await;
    assert_eq!(took, secs(4 * 59 + 60));
    assert!(timeout_message(&got).contains("idle"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_model_may_think_in_silence_until_the_first_token_clock_ends() {
    let role = r#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    let thinking = vec![bytes(format!("{role}\n\n")), Step::Pause(secs(200))];
    let answer = [bytes(text("a")), bytes(reason("stop"))];
    let (took, got) = timed([thinking.clone(), answer.to_vec()].concat()).await;
    assert_eq!((took, got.end()), (secs(200), "Complete".to_owned()));

    let mut queue = thinking;
    for _ in 0..100 {
        queue.extend([bytes(": keep-alive\n\n"), Step::Pause(secs(10))]);
    }
    let (took, got) = timed(queue).await;
    assert_eq!(took, secs(300));
    assert!(timeout_message(&got).contains("first-token limit of 300s"), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endless_reply_ends_by_the_total_clock() {
    let steps = (0..1000).flat_map(|_| [bytes(text("a")), Step::Pause(secs(11))]).collect();
    let (took, got) = timed(steps).await;
    assert_eq!((took, got.text.len()), (secs(900), 82));
    assert!(timeout_message(&got).contains("total limit of 900s"), "{got:?}");
}

#[tokio::test]
async fn bytes_that_are_always_there_do_not_outrun_the_clocks() {
    let mut config = OpenAiConfig::new("m");
    config.timeouts.total = Duration::ZERO;
    let flood = vec![bytes(text("a")); 1000];
    let got = read_with(flood, &config).await;
    assert!(timeout_message(&got).contains("total limit"), "{got:?}");
    assert_eq!(got.text, "");
}

#[tokio::test(start_paused = true)]
async fn a_connection_left_open_behind_the_end_is_not_waited_for() {
    let done = vec![bytes(text("a") + &reason("stop") + DONE), Step::Silence];
    let (took, got) = timed(done).await;
    assert_eq!((took, got.end()), (LINGER, "Complete".to_owned()));
    let no_done = vec![bytes(text("a") + &reason("stop")), Step::Silence];
    let (took, got) = timed(no_done).await;
    assert_eq!((took, got.end()), (AFTER_REASON, "Complete".to_owned()));
}
