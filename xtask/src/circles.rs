//! Finds circles in which the files of one module import each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::paths::Import;

/// Which file of a top-level module names which others: `(module, file)` and the files.
#[derive(Debug, Default)]
pub(crate) struct Graph(BTreeMap<(String, String), BTreeSet<String>>);

impl Graph {
    /// Takes in an import that stays inside of one top-level module.
    pub(crate) fn note(&mut self, module: &[String], import: &Import) {
        let ([top, file, ..], [root, other_top, other, ..]) = (module, import.path.as_slice())
        else {
            return;
        };
        if root == "crate" && top == other_top && file != other {
            self.0.entry((top.clone(), file.clone())).or_default().insert(other.clone());
        }
    }

    /// Each circle once, as `module: a → b → a`, but for those through one of `knots`.
    pub(crate) fn circles(&self, knots: &[(&str, &str)]) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for (top, file) in self.0.keys() {
            let Some(circle) = self.shortest_circle(top, file, knots) else { continue };
            let members: BTreeSet<_> = circle.iter().cloned().collect();
            if seen.insert((top.clone(), members)) {
                found.push(format!("circle of imports: {top}: {}", circle.join(" → ")));
            }
        }
        found
    }

    /// The way from `file` back to itself, with `file` at both ends.
    fn shortest_circle(
        &self,
        top: &str,
        file: &str,
        knots: &[(&str, &str)],
    ) -> Option<Vec<String>> {
        let knot = |file: &str| knots.contains(&(top, file));
        let mut reached = BTreeSet::new();
        let mut ways = VecDeque::from([vec![file.to_owned()]]);
        while let Some(way) = ways.pop_front() {
            let last = way.last().filter(|last| !knot(last)).cloned().unwrap_or_default();
            for other in self.0.get(&(top.to_owned(), last)).into_iter().flatten() {
                let longer = [way.as_slice(), std::slice::from_ref(other)].concat();
                if other == file {
                    return Some(longer);
                }
                if reached.insert(other.clone()) {
                    ways.push_back(longer);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (file, other) in edges {
            let path = ["crate", "domain", other].map(str::to_owned).to_vec();
            let module = ["domain", file].map(str::to_owned);
            graph.note(&module, &Import { path, name: None, line: 1 });
        }
        graph
    }

    #[test]
    fn one_way_is_no_circle() {
        let graph = graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("a", "a")]);
        assert_eq!(graph.circles(&[]), Vec::<String>::new());
    }

    #[test]
    fn circle_is_named_once() {
        let graph = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]);
        assert_eq!(graph.circles(&[]), ["circle of imports: domain: a → b → c → a"]);
    }

    #[test]
    fn knot_excuses_only_the_circles_through_it() {
        let graph = graph(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]);
        assert_eq!(graph.circles(&[("domain", "b")]), ["circle of imports: domain: c → d → c"]);
        assert_eq!(graph.circles(&[("engine", "b")]).len(), 2);
    }

    #[test]
    fn other_modules_make_no_circle() {
        let mut graph = graph(&[("a", "b")]);
        let path = ["crate", "engine", "a"].map(str::to_owned).to_vec();
        let module = ["domain", "b"].map(str::to_owned);
        graph.note(&module, &Import { path, name: None, line: 1 });
        assert_eq!(graph.circles(&[]), Vec::<String>::new());
    }
}
