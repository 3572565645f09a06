//! The report as Markdown.

use std::fmt::Write as _;

use super::{Cell, Goal, Report, Section, Table, plot_name};

pub(super) fn whole(report: &Report) -> String {
    let mut text = head(report);
    text.push('\n');
    text.push_str(&summary(report));
    text.push('\n');
    text.push_str(&goals(report));
    for section in &report.sections {
        text.push('\n');
        text.push_str(&self::section(section, true));
    }
    text
}

pub(super) fn head(report: &Report) -> String {
    let mut text = String::from("# Measurements\n\n");
    let _ = writeln!(text, "Written by `{}`.\n", report.command);
    text.push_str(HOW_TO_READ);
    text.push_str("\n| | |\n|---|---|\n");
    for (name, fact) in &report.facts {
        let _ = writeln!(text, "| {name} | {fact} |");
    }
    text.push_str(
        "\n| store | what an acknowledged append may lose | compared with |\n|---|---|---|\n",
    );
    for [name, loses, ceilings] in &report.stores {
        let _ = writeln!(text, "| {name} | {loses} | {ceilings} |");
    }
    text
}

/// The figures that matter most, a row for each store.
pub(super) fn summary(report: &Report) -> String {
    let cells = || report.sections.iter().flat_map(|section| &section.summary);
    let mut columns: Vec<&str> = Vec::new();
    for (_, column, _) in cells() {
        if !columns.contains(column) {
            columns.push(column);
        }
    }
    if columns.is_empty() {
        return String::new();
    }
    let mut text = String::from("## Summary\n\n");
    let _ = writeln!(text, "| | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
    for [store, ..] in &report.stores {
        let _ = write!(text, "| **{store}** |");
        for column in &columns {
            let found = cells().find(|(of, at, _)| *of == store.as_str() && at == column);
            let _ = write!(text, " {} |", found.map_or("–", |(.., cell)| cell));
        }
        text.push('\n');
    }
    text.push_str(SUMMARY);
    text
}

pub(super) fn goals(report: &Report) -> String {
    let goals: Vec<_> = report.sections.iter().flat_map(|section| &section.goals).collect();
    if goals.is_empty() {
        return String::new();
    }
    let mut text =
        String::from("## Goals\n\n| goal | wanted | measured | reached |\n|---|---|---|---|\n");
    for Goal { what, wanted, measured, reached } in goals {
        let reached = if *reached { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {what} | {wanted} | {measured} | {reached} |");
    }
    text
}

pub(super) fn section(section: &Section, with_plots: bool) -> String {
    let mut text = format!("## {}\n\n{}\n", section.title, section.about.trim());
    for table in &section.tables {
        text.push('\n');
        text.push_str(&self::table(table));
    }
    if with_plots {
        for (number, plot) in section.plots.iter().enumerate() {
            let _ = write!(text, "\n![{}]({})\n", plot.title(), plot_name(section, number));
        }
    }
    text
}

fn table(table: &Table) -> String {
    let mut text = String::new();
    if !table.title.is_empty() {
        let _ = writeln!(text, "**{}**\n", table.title);
    }
    let _ = writeln!(text, "| {} |", table.columns.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(table.columns.len()));
    for row in &table.rows {
        text.push('|');
        for cell in row {
            let shown = match cell {
                Cell::Text(text) => text.clone(),
                Cell::Figure(figure, unit) => unit.show_figure(figure),
                Cell::Empty => "–".to_owned(),
            };
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    text
}

const SUMMARY: &str = "
Events per second by callers that each wait for their own append, over 1,024 streams; the share of \
the ceiling is that of 1,024 callers. Medians; what may be lost stands in the table above.\n";

const HOW_TO_READ: &str = "\
Each figure is the median of several rounds, with the lowest and the highest round behind it. In a \
round every figure of a section is measured once, by turns, so that what disturbs the machine \
disturbs all of them; a ratio is taken within each round, and its median is shown. So ratios say \
more than figures. Messages have about 390 bytes as JSON; ids are time-ordered (UUIDv7).\n";
