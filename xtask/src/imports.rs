//! Checks that the files of chat-core import one way, along the data path:
//! command → decide → append → notify → subscribe → project.
//!
//! `ROWS` says what each module may import, `STAGES` the order inside of a module; no files of a
//! module import each other in a circle. Tests may import what they like.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::circles::Graph;
use crate::code::{tokens, without_tests};
use crate::paths::{Import, imports};
use crate::steps::Steps;
use crate::summary::say;

/// A top-level module of chat-core.
#[derive(Clone, Copy, Debug)]
struct Row {
    module: &'static str,
    /// Other modules of the crate that it may import.
    may: &'static [&'static str],
    /// Paths of other crates that it must not name.
    never: &'static [&'static str],
}

/// What a pure module must not know: how it is run, and what it is stored in.
const PURE: &[&str] = &[
    "tokio",
    "futures",
    "async_trait",
    "std::env",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::sync::mpsc",
    "std::thread",
];

/// Add a row for a new module.
const ROWS: &[Row] = &[
    Row { module: "id", may: &[], never: PURE },
    Row { module: "event", may: &["id", "clock"], never: PURE },
    // The injected clock is where the machine's own time comes in.
    Row { module: "clock", may: &["id"], never: &["tokio"] },
    Row { module: "domain", may: &["id", "event", "clock"], never: PURE },
    Row { module: "ports", may: &["id", "event", "clock"], never: &[] },
    Row { module: "memory", may: &["id", "event", "clock", "ports"], never: &[] },
    Row { module: "connect", may: &["ports", "memory"], never: &[] },
    Row { module: "copy", may: &["id", "event", "ports"], never: &[] },
    Row { module: "decorate", may: &["id", "event", "clock", "ports"], never: &[] },
    Row { module: "llm", may: &["id", "event", "clock", "ports"], never: &[] },
    Row { module: "durable", may: &["id", "event", "clock", "ports", "decorate"], never: &[] },
    Row {
        module: "engine",
        may: &["id", "event", "clock", "domain", "ports", "memory", "connect", "decorate", "llm"],
        never: &[],
    },
    Row {
        module: "respond",
        may: &["id", "event", "clock", "domain", "ports", "engine"],
        never: &[],
    },
    Row {
        module: "testkit",
        may: &[
            "id", "event", "clock", "domain", "ports", "memory", "decorate", "llm", "engine",
            "durable",
        ],
        never: &[],
    },
];

/// What no file of chat-core may name: the core does no I/O of its own.
const NEVER: &[&str] = &[
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::io::stdin",
    "tokio::fs",
    "tokio::net",
    "tokio::process",
    "tokio::signal",
    "tokio::io",
];

/// Files inside of a module that follow an order: each imports only from those before it. A file
/// that isn't named may import from any and be imported by any.
const STAGES: &[(&str, &[&str])] = &[
    (
        "domain",
        &[
            "event",
            "command",
            "limits",
            "rejection",
            "derive",
            "tally",
            "message",
            "chat",
            "decide",
            "wire",
            "snapshot",
        ],
    ),
    (
        "engine",
        &[
            "config",
            "error",
            "token",
            "tail",
            "load",
            // decide, append, notify, subscribe, project
            "execute",
            "committer",
            "presence",
            "watch",
            "subscription",
            "list",
            "follow_log",
            // what the host holds
            "history",
            "chat",
            "handle",
        ],
    ),
];

/// Files that stand in a circle with others of their module, and why. The fewer the better.
const KNOTS: &[(&str, &str)] = &[
    // The state that all parts of the engine share is made of the parts' own types.
    ("engine", "shared"),
    ("engine", "cell"),
    // Its `readable` looks at the whole chat; moved to `chat`, this row and its reason are gone,
    // and `member` gets its place among the stages, before `chat`.
    ("domain", "member"),
    // It makes the handles, and each handle keeps what it made alive.
    ("engine", "builder"),
    // A chat's handle starts it, and it asks the handle again after a break.
    ("engine", "follower"),
];

/// The imports step.
///
/// # Errors
///
/// Lists every import against the direction.
pub(crate) fn check(steps: &mut Steps) -> Result<String> {
    let source = steps.metadata.workspace_root.join("chat-core/src");
    let files = files(&source)?;
    let complaints = complaints(&files);
    for complaint in &complaints {
        say(complaint);
    }
    match complaints.len() {
        0 => Ok(format!("{} files of chat-core", files.len())),
        many => bail!("imports against the direction of chat-core: {many}"),
    }
}

/// A source file: its path under `src`, and its text.
type File = (PathBuf, String);

fn files(folder: &Path) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = next.read_dir().with_context(|| format!("list {}", next.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", next.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("read {}", path.display()))?;
                found.push((path.strip_prefix(folder).unwrap_or(&path).to_owned(), text));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn complaints(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    let names = root_names(files, &mut found);
    let mut graph = Graph::default();
    for (path, text) in files {
        let module = module_of(path);
        let Some(top) = module.first() else { continue };
        if module.iter().any(|part| part == "tests") {
            continue;
        }
        let Some(row) = ROWS.iter().find(|row| row.module == top) else {
            found.push(format!(
                "{}: module `{top}` has no row in xtask/src/imports.rs that says what it may import",
                path.display()
            ));
            continue;
        };
        for import in imports(&without_tests(&tokens(text)), &module) {
            if let Some(why) = wrong(&import, row, &module, &names) {
                found.push(format!("{}:{}: {why}", path.display(), import.line));
            }
            graph.note(&module, &import);
        }
    }
    found.extend(graph.circles(KNOTS));
    found
}

/// `engine/append.rs` and `engine/append/mod.rs` are `engine::append`; `lib.rs` is the root.
fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<_> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// What is known at the root of the crate by re-export or as a macro, and the module that it
/// comes from.
fn root_names(files: &[File], found: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let Some((_, text)) = files.iter().find(|(path, _)| path == Path::new("lib.rs")) else {
        found.push("lib.rs is missing".to_owned());
        return names;
    };
    for import in imports(&without_tests(&tokens(text)), &[]) {
        let (Some(module), Some(name)) = (import.path.first(), &import.name) else { continue };
        if name == "*" {
            found.push(format!("lib.rs:{}: re-export each item by its name, not `*`", import.line));
        }
        let module = if module == "crate" { import.path.get(1) } else { Some(module) };
        names.insert(name.clone(), module.cloned().unwrap_or_default());
    }
    for (path, text) in files {
        let Some(top) = module_of(path).into_iter().next() else { continue };
        names.extend(macros(text).into_iter().map(|name| (name, top.clone())));
    }
    names
}

/// The macros that a file defines: exported ones are known at the root of the crate.
fn macros(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let defined = tokens.windows(3).filter_map(|three| match three {
        [word, bang, name] if word.is("macro_rules") && bang.is("!") => Some(name.text.clone()),
        _ => None,
    });
    defined.collect()
}

/// Says why an import is wrong, if it is.
fn wrong(
    import: &Import,
    row: &Row,
    module: &[String],
    names: &BTreeMap<String, String>,
) -> Option<String> {
    let shown = import.path.join("::");
    let [first, inside @ ..] = import.path.as_slice() else { return None };
    if first != "crate" {
        let mut never = NEVER.iter().chain(row.never);
        let banned =
            never.find(|banned| shown == **banned || shown.starts_with(&format!("{banned}::")))?;
        return Some(format!("`{}` must not name `{banned}`", row.module));
    }
    let Some(target) = inside.first() else {
        return Some("imports the whole root; name the module".to_owned());
    };
    let is_row = |name: &str| ROWS.iter().any(|row| row.module == name);
    let target = match names.get(target) {
        Some(from) if !is_row(target) => from,
        _ => target,
    };
    if target == row.module {
        return against_stage(module, inside);
    }
    if is_row(target) {
        let allowed = row.may.contains(&target.as_str());
        return (!allowed).then(|| format!("`{}` must not import `{shown}`", row.module));
    }
    Some(format!("cannot tell which module `{shown}` comes from; name the module"))
}

/// Checks an import inside of one top-level module against the order of its stages.
fn against_stage(module: &[String], target: &[String]) -> Option<String> {
    let (_, stages) =
        STAGES.iter().find(|(parent, _)| module.first().is_some_and(|m| m == parent))?;
    let place = |path: &[String]| {
        let file = path.get(1)?;
        stages.iter().position(|stage| stage == file)
    };
    let (from, to) = (place(module)?, place(target)?);
    (to > from).then(|| {
        format!(
            "stage `{}` must not import `{}`, a later stage",
            module.join("::"),
            target.join("::")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "mod id; mod event; mod domain; mod engine; pub mod ports; mod memory;\
        pub use id::{ChatId, UserId as Person}; pub use engine::Engine; pub use crate::ports::Store;";

    fn complaints_of(path: &str, text: &str) -> Vec<String> {
        complaints(&[
            (PathBuf::from("lib.rs"), LIB.to_owned()),
            (PathBuf::from(path), text.to_owned()),
        ])
    }

    fn refused(path: &str, text: &str, part: &str) {
        let found = complaints_of(path, text);
        assert!(found.iter().any(|line| line.contains(part)), "{path}: {text}: {found:?}");
    }

    fn accepted(path: &str, text: &str) {
        assert_eq!(complaints_of(path, text), Vec::<String>::new(), "{path}: {text}");
    }

    #[test]
    fn imports_along_the_path_pass() {
        accepted("domain/decide.rs", "use crate::id::ChatId; use crate::event::{A, B};");
        accepted("domain/decide.rs", "use crate::{ChatId, Person}; use super::apply::C;");
        accepted("engine/mod.rs", "use crate::{domain, ports::Store, memory::Memory};");
        accepted("memory/store.rs", "use crate::ports::*; use tokio::sync::Mutex;");
        accepted("domain/apply.rs", "use std::collections::BTreeMap; use serde::Serialize;");
    }

    #[test]
    fn imports_against_the_path_are_refused() {
        refused("domain/decide.rs", "use crate::engine::Engine;", "`crate::engine::Engine`");
        refused("domain/decide.rs", "use crate::{id, ports::{self, Store}};", "`crate::ports`");
        refused("ports/store.rs", "use crate::domain::Chat;", "`crate::domain::Chat`");
        refused("memory/store.rs", "fn f() { crate::engine::run(); }", "`crate::engine::run`");
        refused(
            "decorate/retry.rs",
            "use super::super::engine::Engine;",
            "`crate::engine::Engine`",
        );
        refused("id.rs", "use super::ports;", "`crate::ports`");
        refused("domain.rs", "mod inner { use super::super::engine; }", "`crate::engine`");
        refused("engine/mod.rs", "use crate::testkit::Fault;", "`crate::testkit::Fault`");
        refused("ports/mod.rs", "macro_rules! m { () => { $crate::engine::x() } }", "engine");
    }

    #[test]
    fn re_exports_at_the_root_count_as_their_module() {
        refused("memory/store.rs", "use crate::Engine;", "`crate::Engine`");
        refused("domain/decide.rs", "use crate::{Person, Store};", "`crate::Store`");
    }

    #[test]
    fn exported_macro_counts_as_its_module() {
        let lib = (PathBuf::from("lib.rs"), LIB.to_owned());
        let made = "#[macro_export] macro_rules! check { () => { $crate::check!() } }";
        let made = (PathBuf::from("testkit/run.rs"), made.to_owned());
        let used = (PathBuf::from("domain/a.rs"), "crate::check!();".to_owned());
        assert_eq!(complaints(&[lib.clone(), made.clone()]), Vec::<String>::new());
        let found = complaints(&[lib, made, used]);
        assert!(found.iter().any(|line| line.contains("`domain` must not import `crate::check`")));
    }

    #[test]
    fn pure_domain_knows_no_runtime() {
        refused("domain/decide.rs", "use tokio::sync::Mutex;", "`tokio`");
        refused("domain/decide.rs", "fn f() { tokio::spawn(g()); }", "`tokio`");
        refused("domain/decide.rs", "use std::{fmt, thread};", "`std::thread`");
        refused("engine/append.rs", "use std::fs::File;", "`std::fs`");
        refused("engine/append.rs", "use tokio::{net::TcpStream, sync};", "`tokio::net`");
    }

    #[test]
    fn later_stage_is_refused() {
        refused("engine/execute.rs", "use super::subscription::Events;", "later stage");
        refused("engine/committer/batch.rs", "use crate::engine::watch;", "later stage");
        refused("domain/event.rs", "use super::decide::Decision;", "later stage");
        accepted("engine/subscription.rs", "use super::committer::C; use super::novelty::N;");
        accepted("engine/novelty.rs", "use super::list::L;");
    }

    #[test]
    fn circle_of_files_is_refused() {
        let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
        let files = |last: &str| {
            complaints(&[
                file("lib.rs", LIB),
                file("domain/a.rs", "use super::b::B;"),
                file("domain/b.rs", last),
            ])
        };
        assert_eq!(files("use super::c::C;"), Vec::<String>::new());
        assert_eq!(files("#[cfg(test)] use super::a::A;"), Vec::<String>::new());
        assert_eq!(files("use super::a::A;"), ["circle of imports: domain: a → b → a"]);
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        refused("domain/decide.rs", "use crate::*;", "whole root");
        refused("id.rs", "use super::*;", "whole root");
        refused("domain/decide.rs", "use crate::Mystery;", "cannot tell");
        refused("novelty.rs", "", "no row");
        let glob = [(PathBuf::from("lib.rs"), "pub use engine::*;".to_owned())];
        assert!(complaints(&glob).iter().any(|line| line.contains("not `*`")));
    }

    #[test]
    fn tests_comments_and_strings_import_what_they_like() {
        accepted("domain/decide.rs", "#[cfg(test)] mod tests { use crate::engine::Engine; }");
        accepted("domain/tests.rs", "use crate::engine::Engine;");
        accepted("domain/decide.rs", "// crate::engine::Engine\nconst A: &str = \"tokio::spawn\";");
    }

    #[test]
    fn rows_form_no_circle() {
        for (at, row) in ROWS.iter().enumerate() {
            for other in ROWS.iter().skip(at) {
                let both = row.may.contains(&other.module) && other.may.contains(&row.module);
                assert!(!both, "{} and {} import each other", row.module, other.module);
            }
            for name in row.may {
                assert!(ROWS.iter().any(|row| row.module == *name), "{name} has no row");
            }
        }
    }
}
