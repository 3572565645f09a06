//! What does a message cost, from the command to its delivery?

use std::sync::Arc;

use anyhow::{Context as _, Result};
use chat_core::SubscribeFrom;

use super::append::{Target, append_for, callers};
use crate::contest::{Entry, contest};
use crate::measure::{cpu_time, micros};
use crate::plan::Plan;
use crate::report::{Cell, Goal, Plot, Section, Series, Table, Unit, count};
use crate::stores::Subject;
use crate::world::{Received, World, drain, send_for};

const MEMBERS: usize = 3;

pub(super) async fn ask(plan: &Plan) -> Result<Section> {
    let mut section = Section {
        name: "send",
        title: "Sending messages",
        about: format!("{ABOUT} {}", generator()?),
        ..Section::default()
    };
    let mut all = Vec::new();
    for subject in &plan.firsts {
        ask_one(plan, subject, &mut section, &mut all).await?;
    }
    section.plots.push(Plot::Lines {
        title: "Messages sent, by callers".to_owned(),
        across: "callers",
        unit: Unit::PerSecond,
        series: all,
    });
    Ok(section)
}

async fn ask_one(
    plan: &Plan,
    subject: &'static Subject,
    section: &mut Section,
    series: &mut Vec<Series>,
) -> Result<()> {
    let shapes = [plan.size(1_000, 20), 1];
    let callers = callers(plan);
    let mut entries = Vec::new();
    for &senders in callers {
        let name = format!("{}: the store alone, {senders} callers", subject.name);
        entries.push(Entry::new(name, move || async move {
            let grouped = subject.wants_group_commit;
            Ok(vec![append_for(plan, subject, Target::Many, grouped, senders).await?])
        }));
        for chats in shapes {
            let name = format!("{}: {chats} chats, {senders} callers", subject.name);
            entries.push(Entry::new(name, move || send(plan, subject, chats, senders)));
        }
    }
    let mut figures = contest(plan, entries).await?.into_iter();
    let mut table = Table::new(
        subject.name,
        &["chats", "callers", "messages/s", "CPU for a message", "beside the store alone"],
    );
    let mut lines = shapes.map(|_| Vec::new());
    for &senders in callers {
        let store = figures.next().and_then(|figures| figures.into_iter().next());
        let store = store.context("a figure is missing")?;
        for (chats, points) in shapes.into_iter().zip(&mut lines) {
            let (rate, cpu) = match figures.next().unwrap_or_default().as_slice() {
                [rate, cpu] => (rate.clone(), cpu.clone()),
                _ => anyhow::bail!("a figure is missing"),
            };
            points.push((senders as f64, rate.median()));
            if subject.wants_group_commit && senders == 256 {
                let (wanted, name) =
                    if chats == 1 { (10.0, "one chat") } else { (5.0, "1,000 chats") };
                let what = format!("{}, CPU for a message, {name}", subject.name);
                section.goals.push(Goal::at_most(what, &cpu, wanted, Unit::Micros));
            }
            let cells = [
                Cell::Text(count(senders)),
                Cell::Figure(rate.clone(), Unit::PerSecond),
                Cell::Figure(cpu, Unit::Micros),
                Cell::Figure(rate.over(&store), Unit::Percent),
            ];
            table.row(count(chats), cells);
        }
    }
    series.extend(shapes.into_iter().zip(lines).map(|(chats, points)| {
        let name =
            if chats == 1 { "one chat".to_owned() } else { format!("{} chats", count(chats)) };
        Series { name: format!("{}, {name}", subject.name), points }
    }));
    section.tables.push(table);
    Ok(())
}

/// Messages per second, and microseconds on a processor for each.
async fn send(plan: &Plan, subject: &Subject, chats: usize, callers: usize) -> Result<Vec<f64>> {
    let world = World::with_chats(plan, subject, chats, MEMBERS).await?;
    let received = Arc::new(Received::new());
    for chat in 0..chats {
        let reader = world.handle(chat, 1)?;
        let subscription = reader.subscribe(SubscribeFrom::Now).await?;
        tokio::spawn(drain(subscription, reader, Arc::clone(&received)));
    }
    let before = cpu_time();
    let (sent, time) = send_for(&world, MEMBERS, callers, plan.sample).await?;
    // All that a message brings about belongs to its cost: the chat lists, and the delivery.
    world.engine.catch_up().await?;
    received.wait_for(sent).await;
    let cpu = cpu_time() - before;
    world.end().await?;
    Ok(vec![sent as f64 / time.as_secs_f64(), micros(cpu) / sent as f64])
}

/// What the load generator itself costs.
fn generator() -> Result<String> {
    let load = crate::load::Load::new();
    let before = cpu_time();
    for _ in 0..GENERATED {
        drop(std::hint::black_box(load.message()?));
    }
    let each = micros(cpu_time() - before) / f64::from(GENERATED);
    Ok(format!("Making a message costs {} of it.", Unit::Micros.show(each)))
}

const GENERATED: u32 = 100_000;

const ABOUT: &str = "\
Callers send messages with client message ids through the engine, each waiting for its answer. Every \
chat has three members and one live subscriber, who reads all of it. The CPU time is that of the \
whole process (all threads, kernel included) from the first command until the last message is \
delivered and all chat lists are up to date, divided by the messages: idempotency, membership, \
decision, append, unread counts, lists, delivery, and the load generator.";
