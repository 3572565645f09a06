//! The program is killed again and again while people write. Everything that was acknowledged is
//! there, once, in the same order for everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::program::Program;
use super::tab::{Tab, fresh_key};
use super::visitor::Visitor;
use super::within;

const WRITERS: usize = 4;
const KILLS: u64 = 10;
const ACKED_BEFORE_A_KILL: usize = 60;

/// Which run of the program it is; zero when all writers shall end.
type Run = watch::Receiver<u64>;

/// What a page keeps while the server comes and goes.
struct Writer {
    visitor: Visitor,
    lobby: String,
    token: Value,
    /// Messages seen: version and key.
    seen: Vec<(u64, String)>,
    /// Messages acknowledged: key and version.
    acked: BTreeMap<String, u64>,
    repeated: usize,
    /// Not acknowledged yet; sent again under the same key.
    unacked: Option<String>,
}

impl Writer {
    async fn new(url: &str, name: &str) -> Self {
        let visitor = Visitor::registered(url, name).await;
        let mut tab = visitor.tab().await;
        let lobby = tab.lobby().await;
        let opened = tab.ask("open", json!({ "room": lobby, "limit": 1 })).await;
        assert_eq!(opened["messages"], json!([]));
        let token = opened["token"].clone();
        let (seen, acked) = (Vec::new(), BTreeMap::new());
        Self { visitor, lobby, token, seen, acked, repeated: 0, unacked: None }
    }

    fn take(&mut self, said: &Value) {
        let last = self.seen.last().map_or(0, |(version, _)| *version);
        for event in said["events"].as_array().into_iter().flatten() {
            let version = event["v"].as_u64().unwrap();
            if event["type"] == "message_sent" && version > last {
                let key = event["data"]["client_message_id"].as_str().unwrap();
                self.seen.push((version, key.to_owned()));
            }
        }
        if said["token"].is_string() {
            self.token = said["token"].clone();
        }
    }

    /// Writes until the connection goes (`None`) or until all shall end.
    async fn write(&mut self, run: &Run, acks: &AtomicUsize) -> Option<()> {
        let mut tab = Tab::open(&self.visitor).await.ok()?;
        let resume = json!({ "room": self.lobby, "token": self.token });
        tab.ask_or_lose("resume", resume).await?.unwrap();
        while *run.borrow() != 0 || self.unacked.is_some() {
            let key = self.unacked.get_or_insert_with(fresh_key).clone();
            let message = json!({ "room": self.lobby, "client_message_id": key, "text": format!("text of {key}") });
            let answer = tab.ask_or_lose("send", message).await;
            while let Some(said) = tab.take_pushed() {
                self.take(&said);
            }
            match answer? {
                Ok(ack) => {
                    self.repeated += usize::from(ack["deduplicated"] == true);
                    self.acked.insert(key, ack["seq"].as_u64().unwrap());
                    self.unacked = None;
                    acks.fetch_add(1, Ordering::SeqCst);
                }
                // The server may be stopping, or its file busy.
                Err(refusal) => assert_eq!(refusal["retry"], true, "{refusal}"),
            }
        }
        Some(())
    }

    /// Reads until a version has come.
    async fn catch_up(&mut self, version: u64) {
        let mut tab = self.visitor.tab().await;
        let resume = json!({ "room": self.lobby, "token": self.token });
        tab.ask("resume", resume).await;
        while self.seen.last().is_none_or(|(seen, _)| *seen < version) {
            let said = tab.pushed("the rest", |said| said["push"] == "events").await;
            self.take(&said);
        }
    }
}

async fn keep_writing(mut writer: Writer, mut run: Run, acks: Arc<AtomicUsize>) -> Writer {
    loop {
        let seen = *run.borrow_and_update();
        if writer.write(&run, &acks).await.is_some() {
            return writer;
        }
        // The page would wait and try; here it is known when the program is back.
        let back = run.wait_for(|run| *run != seen);
        within("the program's return", back).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_ten_times_nothing_acknowledged_is_lost_or_doubled() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("room.db");
    let mut program = Program::start(&file, 0).await;
    let port = program.port();
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        writers.push(Writer::new(&program.url, &format!("writer-{n}")).await);
    }
    let (run, runs) = watch::channel(1);
    let acks = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = writers
        .into_iter()
        .map(|writer| tokio::spawn(keep_writing(writer, runs.clone(), Arc::clone(&acks))))
        .collect();

    for kill in 1..=KILLS {
        let goal = acks.load(Ordering::SeqCst) + ACKED_BEFORE_A_KILL;
        within("progress under load", async {
            while acks.load(Ordering::SeqCst) < goal {
                tokio::task::yield_now().await;
            }
        })
        .await;
        program.kill().await;
        program = Program::start(&file, port).await;
        run.send_replace(kill + 1);
    }
    run.send_replace(0);
    let mut writers = Vec::new();
    for task in tasks {
        writers.push(within("the writers' end", task).await.unwrap());
    }

    let acked: BTreeMap<_, _> = writers.iter().flat_map(|writer| writer.acked.clone()).collect();
    let mut expected: Vec<(u64, String)> = acked.into_iter().map(|(key, seq)| (seq, key)).collect();
    expected.sort_unstable();
    let last = expected.last().unwrap().0;
    for writer in &mut writers {
        writer.catch_up(last).await;
        assert_eq!(writer.seen, expected, "what {} saw live", writer.visitor.cookie.is_some());
    }
    // Whoever comes fresh finds the same.
    let mut tab = writers[0].visitor.tab().await;
    let mut page = tab.ask("open", json!({ "room": writers[0].lobby, "limit": 100 })).await;
    let mut found = Vec::new();
    loop {
        let messages = page["messages"].as_array().unwrap().iter().rev();
        found.extend(messages.map(|message| {
            let key = message["client_message_id"].as_str().unwrap().to_owned();
            assert_eq!(message["text"], format!("text of {key}"));
            (message["seq"].as_u64().unwrap(), key)
        }));
        if page["found_oldest"] == true {
            break;
        }
        let before = page["before"].clone();
        page = tab
            .ask("history", json!({ "room": writers[0].lobby, "before": before, "limit": 100 }))
            .await;
    }
    found.reverse();
    assert_eq!(found, expected);
    let repeated: usize = writers.iter().map(|writer| writer.repeated).sum();
    println!("{} messages, {KILLS} kills, {repeated} acknowledged at the second try", found.len());
    program.terminate().await;
}
