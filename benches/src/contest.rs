//! Things measured by turns: each round measures every entry once, and each round starts with
//! another one, so that what disturbs the machine for a while disturbs all of them.

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;

use crate::measure::Figure;
use crate::plan::Plan;

/// What is measured once in each round; gives one value for each of its figures.
pub(crate) struct Entry<'a> {
    name: String,
    run: Box<dyn FnMut() -> LocalBoxFuture<'a, Result<Vec<f64>>> + 'a>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new<F>(name: impl Into<String>, mut run: impl FnMut() -> F + 'a) -> Self
    where
        F: Future<Output = Result<Vec<f64>>> + 'a,
    {
        Self { name: name.into(), run: Box::new(move || Box::pin(run())) }
    }
}

/// Measures; gives the figures of each entry, in their order.
pub(crate) async fn contest(plan: &Plan, entries: Vec<Entry<'_>>) -> Result<Vec<Vec<Figure>>> {
    let count = entries.len();
    let mut entries: Vec<_> = entries.into_iter().map(|entry| (entry, Vec::new())).collect();
    for round in 0..plan.rounds {
        for turn in 0..count {
            let Some((entry, figures)) = entries.get_mut((round + turn) % count) else { continue };
            let values = plan.quiet.measure(&mut entry.run).await;
            let values = values.with_context(|| entry.name.clone())?;
            figures.resize_with(values.len(), Figure::default);
            for (figure, value) in figures.iter_mut().zip(values) {
                figure.samples.push(value);
            }
        }
    }
    Ok(entries.into_iter().map(|(_, figures)| figures).collect())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use clap::Parser as _;

    fn plan(flags: &[&str]) -> Plan {
        let words = ["benches"].iter().chain(flags);
        Plan::new(&crate::cli::Args::parse_from(words)).unwrap()
    }

    #[tokio::test]
    async fn rounds_take_turns_and_keep_the_order_of_the_figures() {
        let order = RefCell::new(String::new());
        let entry = |name: &'static str, value: f64| {
            let order = &order;
            Entry::new(name, move || async move {
                order.borrow_mut().push_str(name);
                Ok(vec![value, value + 1.0])
            })
        };
        let plan = plan(&["--rounds", "2"]);
        let figures = contest(&plan, vec![entry("a", 1.0), entry("b", 5.0)]).await.unwrap();
        assert_eq!(*order.borrow(), "abba");
        let samples: Vec<_> =
            figures.iter().flatten().map(|figure| figure.samples.clone()).collect();
        assert_eq!(samples, [[1.0, 1.0], [2.0, 2.0], [5.0, 5.0], [6.0, 6.0]]);
    }

    #[tokio::test]
    async fn failure_names_its_entry() {
        let entry = Entry::new("the broken one", || async { anyhow::bail!("no") });
        let error = contest(&plan(&[]), vec![entry]).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the broken one: no");
    }
}
