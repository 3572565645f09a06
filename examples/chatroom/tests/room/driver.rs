//! A real browser, headless, over the WebDriver protocol. Waits for what is on the page by watching
//! it change, not by looking again and again.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::http::request;
use super::{PATIENCE, within};

/// The program that drives browsers.
pub(crate) struct Driver {
    _child: Child,
    base: String,
}

/// One browser with its own profile: its own cookies, its own storage.
pub(crate) struct Browser {
    /// The driver's address, and the path of this browser's session there.
    base: String,
    session: String,
    _profile: TempDir,
}

fn program(variable: &str, default: &str) -> PathBuf {
    let path = PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| default.into()));
    assert!(
        path.exists(),
        "{} is missing. The page is tested in a real browser: install it (Debian: apt-get install \
         chromium chromium-driver), or let {variable} name it.",
        path.display()
    );
    path
}

impl Driver {
    pub(crate) async fn start() -> Self {
        let mut child = Command::new(program("CHROMEDRIVER", "/usr/bin/chromedriver"))
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = within("the driver's start", async {
            while let Some(line) = output.next_line().await.unwrap() {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
            panic!("chromedriver did not start");
        })
        .await;
        Self { _child: child, base: format!("http://127.0.0.1:{port}") }
    }

    pub(crate) async fn browser(&self) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--lang=en-GB",
            "--window-size=1280,800",
        ]
        .map(String::from)
        .into();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let binary = program("CHROMIUM", "/usr/bin/chromium");
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "timeouts": { "script": PATIENCE.as_millis() as u64 * 3 / 4 },
            "goog:chromeOptions": { "binary": binary, "args": arguments },
        } } });
        let answer = call(&self.base, "/session", wanted).await.unwrap();
        let session = format!("/session/{}", answer["sessionId"].as_str().unwrap());
        let browser = Browser { base: self.base.clone(), session, _profile: profile };
        // Nobody sits before it, and still somebody looks at it.
        browser.devtools("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await;
        browser
    }
}

/// What the driver says, or its error's name and message.
async fn call(base: &str, path: &str, body: Value) -> Result<Value, (String, String)> {
    let json = [("content-type", "application/json")];
    let answer = request("POST", base, path, &json, &body.to_string()).await.json();
    let value = answer["value"].clone();
    match value["error"].as_str() {
        Some(error) => Err((error.to_owned(), value["message"].as_str().unwrap().to_owned())),
        None => Ok(value),
    }
}

impl Browser {
    async fn call(&self, command: &str, body: Value) -> Value {
        match call(&self.base, &format!("{}/{command}", self.session), body).await {
            Ok(value) => value,
            Err((error, message)) => panic!("{command}: {error}: {message}"),
        }
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.call("url", json!({ "url": url })).await;
    }

    pub(crate) async fn reload(&self) {
        self.call("refresh", json!({})).await;
    }

    /// The value of an expression.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.call("execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true of the page.
    pub(crate) async fn until(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const holds = () => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }};
             if (holds()) return done(true);
             const watch = new MutationObserver(() => {{ if (holds()) {{ watch.disconnect(); done(true); }} }});
             watch.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});"
        );
        let path = format!("{}/execute/async", self.session);
        loop {
            match call(&self.base, &path, json!({ "script": script, "args": [] })).await {
                Ok(_) => return,
                // The page was loaded anew meanwhile.
                Err((_, message)) if message.contains("unloaded") => {}
                Err((error, message)) => {
                    let page = self.eval("document.body.innerText").await;
                    panic!("never true: {expression}\n{error}: {message}\nThe page: {page}");
                }
            }
        }
    }

    /// Waits for an element and gives its handle.
    async fn element(&self, css: &str) -> String {
        self.until(&format!("document.querySelector({})?.checkVisibility()", json!(css))).await;
        let found = self.call("element", json!({ "using": "css selector", "value": css })).await;
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    pub(crate) async fn click(&self, css: &str) {
        self.act(css, "click", json!({})).await;
    }

    /// Types keys into an element.
    pub(crate) async fn keys(&self, css: &str, text: &str) {
        self.act(css, "value", json!({ "text": text })).await;
    }

    /// Does something to an element; a person, too, takes the one that stands there now.
    async fn act(&self, css: &str, action: &str, body: Value) {
        loop {
            let element = self.element(css).await;
            let path = format!("{}/element/{element}/{action}", self.session);
            match call(&self.base, &path, body.clone()).await {
                Ok(_) => return,
                Err((error, _)) if error == "stale element reference" => {}
                Err((error, message)) => panic!("{action} {css}: {error}: {message}"),
            }
        }
    }

    /// Waits until the page shows this text somewhere in the element.
    pub(crate) async fn shows(&self, css: &str, text: &str) {
        let (css, text) = (json!(css), json!(text));
        self.until(&format!(
            "[...document.querySelectorAll({css})].some((found) => found.checkVisibility() && found.textContent.includes({text}))"
        ))
        .await;
    }

    /// The texts of all elements, as they are on the page.
    pub(crate) async fn texts(&self, css: &str) -> Vec<String> {
        let css = json!(css);
        let found = self
            .eval(&format!(
                "[...document.querySelectorAll({css})].map((found) => found.textContent)"
            ))
            .await;
        serde_json::from_value(found).unwrap()
    }

    /// A command of the browser's own protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.call("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Everything that scripts or the page's policy complained of.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.call("se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().unwrap();
        entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Keeps a picture, if CHATROOM_PICTURES names a directory.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(directory) = std::env::var_os("CHATROOM_PICTURES") else {
            return;
        };
        let answer = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = base64(answer["data"].as_str().unwrap());
        std::fs::write(PathBuf::from(directory).join(format!("{name}.png")), bytes).unwrap();
    }

    pub(crate) async fn close(self) {
        let closed = request("DELETE", &self.base, &self.session, &[], "").await;
        assert_eq!(closed.status, 200);
    }
}

fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
