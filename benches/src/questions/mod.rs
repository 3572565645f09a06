//! The questions, in the order of the report. Each runs one workload over every store.

mod across;
mod append;
mod delivery;
mod fan_out;
mod full;
mod history;
mod idle;
mod list;
mod processes;
mod read;
mod resume;
mod send;
mod space;

use std::io::Write;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use futures::future::LocalBoxFuture;

use crate::cli::Args;
use crate::machine;
use crate::plan::Plan;
use crate::report::{self, Report, Section};

struct Question {
    name: &'static str,
    ask: for<'a> fn(&'a Plan) -> LocalBoxFuture<'a, Result<Section>>,
}

/// The first one reads the memory of the process, which those after it leave full of holes.
const QUESTIONS: &[Question] = &[
    Question { name: "idle", ask: |plan| Box::pin(idle::ask(plan)) },
    Question { name: "append", ask: |plan| Box::pin(append::ask(plan)) },
    Question { name: "processes", ask: |plan| Box::pin(processes::ask(plan)) },
    Question { name: "across", ask: |plan| Box::pin(across::ask(plan)) },
    Question { name: "read", ask: |plan| Box::pin(read::ask(plan)) },
    Question { name: "space", ask: |plan| Box::pin(space::ask(plan)) },
    Question { name: "send", ask: |plan| Box::pin(send::ask(plan)) },
    Question { name: "fan-out", ask: |plan| Box::pin(fan_out::ask(plan)) },
    Question { name: "delivery", ask: |plan| Box::pin(delivery::ask(plan)) },
    Question { name: "resume", ask: |plan| Box::pin(resume::ask(plan)) },
    Question { name: "list", ask: |plan| Box::pin(list::ask(plan)) },
    Question { name: "history", ask: |plan| Box::pin(history::ask(plan)) },
    Question { name: "full", ask: |plan| Box::pin(full::ask(plan)) },
];

pub(crate) use append::{Target, append_to};
pub(crate) use read::READ_EVENTS;
pub(crate) use space::fill_streams;

/// Asks what the arguments want to know, and tells it as it comes.
///
/// # Errors
/// If a store fails, or the arguments name no question or no store.
pub async fn run(args: Args, out: &mut dyn Write) -> Result<Report> {
    let plan = Plan::new(&args)?;
    let wanted = args.only.as_deref().unwrap_or_default();
    let questions: Vec<_> =
        QUESTIONS.iter().filter(|question| question.name.contains(wanted)).collect();
    ensure!(!questions.is_empty(), "no question's name holds `{wanted}`");
    let mut report = Report { command: command(&args), ..Report::default() };
    report.facts = machine::facts(&plan.data);
    let (seconds, rounds) = (plan.sample.as_secs_f64(), plan.rounds);
    report.facts.push(("measured", format!("{rounds} rounds, {seconds} s for each figure")));
    report.facts.extend(args.note.clone().map(|note| ("circumstances", note)));
    if !plan.left_out.is_empty() {
        report
            .facts
            .push(("left out, for want of a server of their own", plan.left_out.join(", ")));
    }
    report.stores = plan.subjects.iter().map(|subject| subject.describe()).collect();
    report::say_head(out, &report)?;
    let load_before = machine::load_average();
    for question in questions {
        let mut section = (question.ask)(&plan).await.with_context(|| question.name)?;
        if section.tables.is_empty() {
            // None of these stores has an answer to it.
            continue;
        }
        section.about = format!("{} {}", section.about.trim(), plan.quiet.say());
        report::say_section(out, &section)?;
        report.sections.push(section);
    }
    let load = format!("{load_before} before, {} after", machine::load_average());
    report.facts.push(("load average", load));
    report::say_goals(out, &report)?;
    Ok(report)
}

/// The command that repeats this run; where it wrote to does not matter.
fn command(args: &Args) -> String {
    let mut words = String::from("cargo run --release -p benches --");
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let value = if value.contains(' ') { format!("'{value}'") } else { value };
            words.push_str(&format!(" --{name} {value}"));
        }
    };
    flag("only", args.only.clone());
    flag("store", args.store.clone());
    flag("seconds", args.seconds.map(|seconds| seconds.to_string()));
    flag("rounds", args.rounds.map(|rounds| rounds.to_string()));
    flag(
        "servers",
        args.servers.and_then(|from| Some(from.to_possible_value()?.get_name().to_owned())),
    );
    flag("full", args.full.map(|events| events.to_string()));
    flag("patience", (args.patience > 0).then(|| args.patience.to_string()));
    if args.quick {
        words.push_str(" --quick");
    }
    words.trim_end_matches(" --").to_owned()
}
