//! The report as data. `markdown` and `plot` write it; nothing here measures.

mod markdown;
mod numbers;
mod plot;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::measure::Figure;
pub(crate) use numbers::{Unit, count};
pub(crate) use plot::{Bar, Plot, Series};

/// Everything that was measured in one run.
#[derive(Debug, Default)]
pub struct Report {
    pub(crate) command: String,
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Each store's name, what it may lose, and what it is compared with.
    pub(crate) stores: Vec<[String; 3]>,
    pub(crate) sections: Vec<Section>,
}

/// The answer to one question.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What was done, so that a reader can repeat it.
    pub(crate) about: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) goals: Vec<Goal>,
    /// For the first table of the report: a store, a column, what stands there.
    pub(crate) summary: Vec<(&'static str, &'static str, String)>,
}

impl Section {
    /// Puts something into the first table of the report.
    pub(crate) fn sum_up(&mut self, store: &'static str, column: &'static str, text: String) {
        self.summary.push((store, column, text));
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Text(String),
    Figure(Figure, Unit),
    Empty,
}

/// What was wanted, and whether it was reached.
#[derive(Debug)]
pub(crate) struct Goal {
    what: String,
    wanted: String,
    measured: String,
    reached: bool,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, name: impl Into<String>, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(std::iter::once(Cell::Text(name.into())).chain(cells).collect());
    }
}

impl Goal {
    /// A goal that the median must not exceed.
    pub(crate) fn at_most(
        what: impl Into<String>,
        figure: &Figure,
        wanted: f64,
        unit: Unit,
    ) -> Self {
        let median = figure.median();
        Self {
            what: what.into(),
            wanted: format!("at most {}", unit.show(wanted)),
            measured: unit.show(median),
            reached: median <= wanted,
        }
    }

    /// A goal that the median must reach.
    pub(crate) fn at_least(
        what: impl Into<String>,
        figure: &Figure,
        wanted: f64,
        unit: Unit,
    ) -> Self {
        let median = figure.median();
        Self {
            what: what.into(),
            wanted: format!("at least {}", unit.show(wanted)),
            measured: unit.show(median),
            reached: median >= wanted,
        }
    }
}

impl Report {
    /// Writes the report and its plots into a directory; gives the path of the report.
    ///
    /// # Errors
    /// If the directory cannot be made or written.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(directory)?;
        for section in &self.sections {
            for (number, plot) in section.plots.iter().enumerate() {
                std::fs::write(directory.join(plot_name(section, number)), plot.svg())?;
            }
        }
        let path = directory.join("REPORT.md");
        std::fs::write(&path, markdown::whole(self))?;
        Ok(path)
    }

    /// The names of the questions that were answered.
    #[must_use]
    pub fn questions(&self) -> Vec<&'static str> {
        self.sections.iter().map(|section| section.name).collect()
    }

    /// What is wrong with the figures: none in a section, or some that no measurement can give.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        for Section { name, tables, plots, .. } in &self.sections {
            let mut figures = 0;
            for (table, cell) in tables
                .iter()
                .flat_map(|table| table.rows.iter().flatten().map(move |cell| (table, cell)))
            {
                let Cell::Figure(figure, _) = cell else { continue };
                figures += 1;
                let sane = |sample: &f64| sample.is_finite() && *sample > 0.0;
                if figure.samples.is_empty() || !figure.samples.iter().all(sane) {
                    found.push(format!("{name}, {}: {:?}", table.title, figure.samples));
                }
            }
            if figures == 0 {
                found.push(format!("{name}: no figures"));
            }
            if plots.is_empty() {
                found.push(format!("{name}: no plot"));
            }
        }
        found
    }
}

fn plot_name(section: &Section, number: usize) -> String {
    format!("{}-{}.svg", section.name, number + 1)
}

pub(crate) fn say_section(out: &mut dyn Write, section: &Section) -> Result<()> {
    say(out, &markdown::section(section, false))
}

pub(crate) fn say_head(out: &mut dyn Write, report: &Report) -> Result<()> {
    say(out, &markdown::head(report))
}

pub(crate) fn say_goals(out: &mut dyn Write, report: &Report) -> Result<()> {
    say(out, &format!("{}\n{}", markdown::summary(report), markdown::goals(report)))
}

/// Writes a line.
///
/// # Errors
/// If nobody reads any more.
pub fn say(out: &mut dyn Write, line: &str) -> Result<()> {
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
