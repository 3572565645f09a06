//! Registering, logging in and out; what the server reveals, keeps and refuses.

use chatroom::{ChatRoom, Config};
use serde_json::{Value, json};

use super::program::Program;
use super::tab::{Tab, handshake, refused_handshake};
use super::visitor::{PASSWORD, Visitor, refusal, room_in_memory};

#[tokio::test]
async fn whoever_registers_is_logged_in_and_in_the_lobby() {
    let room = room_in_memory().await;
    let ann = Visitor::registered(&room.url(), "ann").await;
    assert_eq!(ann.me().await, "ann");
    let mut tab = ann.tab().await;
    let lobby = tab.lobby().await;
    let opened = tab.ask("open", json!({ "room": lobby, "limit": 50 })).await;
    let members = opened["members"].as_array().unwrap();
    let names: Vec<_> = members.iter().map(|member| member["user"].as_str().unwrap()).collect();
    assert_eq!(names, ["ann", "assistant"]);
    room.shutdown().await;
}

#[tokio::test]
async fn a_name_is_given_once() {
    let room = room_in_memory().await;
    let visitor = Visitor::new(&room.url());
    let tries = (0..4).map(|n| {
        visitor.post("/api/register", json!({ "name": "ann", "password": format!("password {n}") }))
    });
    let answers = futures::future::join_all(tries).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
    let late = refusal(&visitor.register("ann", PASSWORD).await);
    assert_eq!(late, (409, "name_taken".into()));
    room.shutdown().await;
}

#[tokio::test]
async fn bad_names_and_passwords_are_refused_with_a_sentence() {
    let room = room_in_memory().await;
    let visitor = Visitor::new(&room.url());
    for (name, password, code) in [
        ("", PASSWORD, "bad_name"),
        ("Ann", PASSWORD, "bad_name"),
        ("<b>ann</b>", PASSWORD, "bad_name"),
        ("assistant", PASSWORD, "bad_name"),
        ("system", PASSWORD, "bad_name"),
        ("ann", "short", "bad_password"),
        ("annabella", "annabella", "bad_password"),
    ] {
        let refused = refusal(&visitor.register(name, password).await);
        assert_eq!(refused, (422, code.into()), "{name:?}");
    }
    let answer = visitor.post("/api/register", json!({ "name": 7 })).await;
    assert_eq!(refusal(&answer).1, "bad_request");
    let answer = visitor.register("ann", &"x".repeat(20_000)).await;
    assert_eq!(refusal(&answer), (413, "bad_request".into()));
    room.shutdown().await;
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let room = room_in_memory().await;
    let ann = Visitor::registered(&room.url(), "ann").await;
    let visitor = Visitor::new(&ann.base);
    let answer = |name: &'static str, password: &'static str| {
        let visitor = visitor.clone();
        async move {
            let answer = visitor.login(name, password).await;
            assert!(answer.header("set-cookie").is_none());
            (answer.status, answer.body)
        }
    };
    let wrong = answer("ann", "wrong password").await;
    assert_eq!(wrong.0, 401);
    for (name, password) in
        [("nobody", PASSWORD), ("assistant", PASSWORD), ("no such name", PASSWORD)]
    {
        assert_eq!(answer(name, password).await, wrong, "{name}");
    }
    assert_eq!(visitor.login("ann", PASSWORD).await.status, 200);
    room.shutdown().await;
}

#[tokio::test]
async fn logging_out_ends_the_session_and_its_tabs_and_no_other() {
    let room = room_in_memory().await;
    let here = Visitor::registered(&room.url(), "ann").await;
    let mut there = Visitor::new(&here.base);
    let login = there.login("ann", PASSWORD).await;
    there.keep_cookie(&login);
    assert_ne!(here.token(), there.token());
    let (mut tab_here, mut tab_there) = (here.tab().await, there.tab().await);

    let answer = here.post("/api/logout", json!({})).await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("chatroom=;") && cookie.contains("Max-Age=0"), "{cookie}");
    assert_eq!(tab_here.close_code().await, 4401);
    assert_eq!(here.me().await, Value::Null);
    assert_eq!(refused_handshake(handshake(&here)).await, 401);

    assert_eq!(there.me().await, "ann");
    tab_there.ask("ping", json!({})).await;
    // Doing it again is no error.
    assert_eq!(here.post("/api/logout", json!({})).await.status, 200);
    room.shutdown().await;
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_of_scripts_and_of_other_sites() {
    let room = room_in_memory().await;
    let answer = Visitor::new(&room.url()).register("ann", PASSWORD).await;
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    let flags: Vec<_> = cookie.split("; ").skip(1).collect();
    assert_eq!(flags, ["Path=/", "Max-Age=2592000", "HttpOnly", "SameSite=Strict"]);
    room.shutdown().await;

    let url = "https://chat.example.org".parse().unwrap();
    let room = ChatRoom::start(Config::in_memory().with_public_url(url)).await.unwrap();
    let visitor = Visitor::new(&room.url());
    let body = json!({ "name": "ann", "password": PASSWORD });
    let answer = visitor.post_from("https://chat.example.org", "/api/register", body).await;
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-chatroom="), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    room.shutdown().await;
}

#[tokio::test]
async fn tries_are_braked_by_name() {
    let room = room_in_memory().await;
    let ann = Visitor::registered(&room.url(), "ann").await;
    let visitor = Visitor::new(&ann.base);
    let mut braked = None;
    for _ in 0..40 {
        let answer = visitor.login("ann", "wrong password").await;
        if answer.status == 429 {
            braked = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let braked = braked.expect("nobody braked forty tries");
    assert!(braked.header("retry-after").is_some());
    assert_eq!(refusal(&braked).1, "too_many_tries");
    // The right password does not get through either, or the brake would tell that it is right.
    assert_eq!(visitor.login("ann", PASSWORD).await.status, 429);
    room.shutdown().await;
}

#[tokio::test]
async fn another_site_can_neither_call_nor_connect() {
    let room = room_in_memory().await;
    let ann = Visitor::registered(&room.url(), "ann").await;
    let body = json!({ "name": "ann", "password": PASSWORD });
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1"] {
        for path in ["/api/login", "/api/register", "/api/logout"] {
            let refused = refusal(&ann.post_from(origin, path, body.clone()).await);
            assert_eq!(refused, (403, "wrong_origin".into()), "{origin} {path}");
        }
        let mut request = handshake(&ann);
        request.headers_mut().insert("origin", origin.parse().unwrap());
        assert_eq!(refused_handshake(request).await, 403, "{origin}");
    }
    let mut request = handshake(&ann);
    request.headers_mut().remove("origin");
    assert_eq!(refused_handshake(request).await, 403);
    assert_eq!(ann.me().await, "ann", "logged out by another site");
    room.shutdown().await;
}

#[tokio::test]
async fn without_a_session_there_is_no_websocket() {
    let room = room_in_memory().await;
    let mut visitor = Visitor::new(&room.url());
    assert_eq!(refused_handshake(handshake(&visitor)).await, 401);
    for forged in ["chatroom=", "chatroom=0", &format!("chatroom={}", "0".repeat(64))] {
        visitor.cookie = Some(forged.to_owned());
        assert_eq!(refused_handshake(handshake(&visitor)).await, 401, "{forged}");
    }
    room.shutdown().await;
}

#[tokio::test]
async fn neither_tokens_nor_passwords_are_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("room.db");
    let program = Program::start(&file, 0).await;
    let ann = Visitor::registered(&program.url, "ann").await;
    let token = ann.token().to_owned();
    let (code, lines) = program.terminate().await;
    assert_eq!((code, lines), (Some(0), Vec::new()), "exit code, and more than the ready line");

    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("account/ann") && holds("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(holds("session/") && holds("session_opened"));
    assert!(!holds(&token), "the session's token");
    assert!(!holds(PASSWORD), "the password");

    // The session outlives the server.
    let program = Program::start(&file, 0).await;
    let mut again = Visitor::new(&program.url);
    again.cookie = ann.cookie;
    assert_eq!(again.me().await, "ann");
    program.terminate().await;
}

#[tokio::test]
async fn every_answer_carries_the_strict_headers() {
    let room = room_in_memory().await;
    let visitor = Visitor::new(&room.url());
    for path in ["/", "/app.js", "/style.css", "/api/me", "/nothing", "/ws"] {
        let answer = visitor.get(path).await;
        let header = |name: &str| answer.header(name);
        let policy = header("content-security-policy").unwrap();
        for part in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header("referrer-policy"), Some("no-referrer"), "{path}");
    }
    room.shutdown().await;
}

#[tokio::test]
async fn the_page_is_fetched_again_only_when_it_changed() {
    let room = room_in_memory().await;
    let visitor = Visitor::new(&room.url());
    let answer = visitor.get("/app.js").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type").unwrap(), "text/javascript; charset=utf-8");
    assert_eq!(answer.header("cache-control").unwrap(), "no-cache");
    let tag = answer.header("etag").unwrap().to_owned();
    let again = visitor.call("GET", "/app.js", &[("if-none-match", &tag)], "").await;
    assert_eq!(again.status, 304);
    assert!(again.body.is_empty());
    let changed = visitor.call("GET", "/app.js", &[("if-none-match", "\"old\"")], "").await;
    assert_eq!(changed.status, 200);
    room.shutdown().await;
}

#[tokio::test]
async fn one_user_has_a_bounded_number_of_tabs() {
    let room = room_in_memory().await;
    let ann = Visitor::registered(&room.url(), "ann").await;
    let mut tabs = Vec::new();
    while let Ok(tab) = Tab::open(&ann).await {
        tabs.push(tab);
        assert!(tabs.len() <= 50, "no bound");
    }
    assert_eq!(tabs.len(), 50);
    assert_eq!(refused_handshake(handshake(&ann)).await, 503);
    // Another user is not affected.
    Visitor::registered(&ann.base, "bob").await.tab().await;
    room.shutdown().await;
}
