//! The program itself, as a process of its own.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::within;

pub(crate) struct Program {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    pub(crate) url: String,
}

impl Program {
    /// Starts it on a file, on a port (0: a free one), and waits for its address.
    pub(crate) async fn start(database: &Path, port: u16) -> Self {
        Self::start_on(&format!("sqlite:{}", database.display()), port).await
    }

    /// The same on any database.
    pub(crate) async fn start_on(url: &str, port: u16) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chatroom"))
            .arg(format!("--listen=127.0.0.1:{port}"))
            .env("CHATROOM_DATABASE", url)
            .arg("--log=warn")
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the program's ready line", output.next_line()).await.unwrap();
        let line = line.expect("the program ended without a ready line");
        let url = line.strip_prefix("Chat room ready at ").expect("another ready line").to_owned();
        Self { child, output, url }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// `kill -9`: no goodbye, no flush.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop; gives its exit code and what it wrote beside the ready line.
    pub(crate) async fn terminate(mut self) -> (Option<i32>, Vec<String>) {
        let id = self.child.id().unwrap().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        assert!(asked.success());
        let status = within("the program's end", self.child.wait()).await.unwrap();
        let mut lines = Vec::new();
        while let Some(line) = self.output.next_line().await.unwrap() {
            lines.push(line);
        }
        (status.code(), lines)
    }
}
