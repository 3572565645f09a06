//! Checks the files of the repository themselves: words, sizes, and marks that must not be there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::code::{attributes, tokens};
use crate::metadata::Metadata;
use crate::steps::Steps;
use crate::summary::say;

/// A word that no file may hold. Written in two parts, so that this file doesn't hold it either.
#[derive(Clone, Copy, Debug)]
struct Word {
    word: &'static str,
    why: &'static str,
}

const REGISTRY_HOST: &str = "the host of a package registry";
const ONE_MACHINE: &str = "a path of one machine";

const WORDS: &[Word] = &[
    Word { word: concat!("crates", ".io"), why: REGISTRY_HOST },
    Word { word: concat!("registry.npm", "js.org"), why: REGISTRY_HOST },
    Word { word: concat!("pypi", ".org"), why: REGISTRY_HOST },
    Word { word: concat!("proxy.golang", ".org"), why: REGISTRY_HOST },
    Word { word: concat!("/wo", "rk/"), why: ONE_MACHINE },
    Word { word: concat!("/ro", "ot/"), why: ONE_MACHINE },
    Word { word: concat!("/ho", "me/"), why: ONE_MACHINE },
];

/// What cargo itself writes on every line of a lock file.
const LOCK_SOURCE: &str = concat!("https://github.com/rust-lang/crates", ".io-index");

/// Attributes and macros that leave a test or a function without effect.
const NO_ATTRIBUTE: &[&str] = &["ignore", "should_panic"];
const NO_MACRO: &[&str] = &["todo", "unimplemented", "dbg"];

const LARGEST: u64 = 1024 * 1024;

/// The hygiene step.
///
/// # Errors
///
/// Lists every file that breaks a rule.
pub(crate) fn check(steps: &mut Steps) -> Result<String> {
    let root = steps.metadata.workspace_root.clone();
    let mut found = lock_file(steps)?;
    let files = files(steps)?;
    for path in &files {
        let full = root.join(path);
        let bytes = std::fs::read(&full).with_context(|| format!("read {}", full.display()))?;
        found.extend(complaints(path, &bytes));
    }
    found.extend(unlinted(&steps.metadata)?);
    for complaint in &found {
        say(complaint);
    }
    match found.len() {
        0 => Ok(format!("{} files", files.len())),
        many => bail!("complaints about files: {many}"),
    }
}

/// Every file that is or could be committed.
fn files(steps: &Steps) -> Result<Vec<PathBuf>> {
    let words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let listed = steps.children.output(git(steps).args(words)).context("list the files")?;
    let root = &steps.metadata.workspace_root;
    // A file that was removed but not yet committed so is still listed.
    let paths = listed.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from);
    let paths: Vec<_> = paths.filter(|path| root.join(path).is_file()).collect();
    if paths.is_empty() {
        bail!("git lists no files");
    }
    Ok(paths)
}

fn lock_file(steps: &Steps) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let tracked = steps.children.output(git(steps).args(["ls-files", "--", "Cargo.lock"]))?;
    if tracked.is_empty() {
        found.push("Cargo.lock is not committed".to_owned());
    }
    if std::env::var_os("CI").is_some() {
        let words = ["status", "--porcelain", "--", "Cargo.lock"];
        let changed = steps.children.output(git(steps).args(words))?;
        if !changed.is_empty() {
            found.push("the committed Cargo.lock doesn't fit the manifests".to_owned());
        }
    }
    Ok(found)
}

/// Git in the workspace's root. A clone that another user owns, as in a container, is fine.
fn git(steps: &Steps) -> Command {
    let mut command = Command::new(std::env::var_os("GIT").unwrap_or_else(|| "git".into()));
    command.current_dir(&steps.metadata.workspace_root).args(["-c", "safe.directory=*"]);
    command
}

/// Packages that don't take the workspace's lints, `unsafe_code = "forbid"` among them.
fn unlinted(metadata: &Metadata) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in metadata.members() {
        let path = &package.manifest_path;
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        if !takes_lints(&text) {
            found.push(format!("{}: `[lints] workspace = true` is missing", package.name));
        }
    }
    Ok(found)
}

fn takes_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.find(|line| !line.is_empty()) == Some("workspace = true")
}

fn complaints(path: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if bytes.len() as u64 > LARGEST {
        found.push(format!("{}: larger than {LARGEST} bytes", path.display()));
    }
    // Pictures and the like have no words to look for.
    let Ok(text) = std::str::from_utf8(bytes) else { return found };
    let lock = path.file_name().is_some_and(|name| name == "Cargo.lock");
    for (number, line) in (1..).zip(text.lines()) {
        let place = || format!("{}:{number}", path.display());
        let line = if lock { line.replace(LOCK_SOURCE, "") } else { line.to_owned() };
        for Word { word, why } in WORDS {
            if holds(&line, word) {
                found.push(format!("{}: `{word}` is {why}", place()));
            }
        }
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            found.push(format!("{}: the mark of an unfinished merge", place()));
        }
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        found.extend(in_source(path, text));
    }
    found
}

/// Whether `line` holds `word`, and not as the later part of something longer.
fn holds(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '~');
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !word.starts_with('/') || !before.is_some_and(joins)
    })
}

fn in_source(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let tokens = tokens(text);
    for (line, names) in attributes(&tokens) {
        if let Some(name) = names.iter().find(|name| NO_ATTRIBUTE.contains(name)) {
            found.push(format!("{}:{line}: attribute `{name}`", path.display()));
        }
    }
    for pair in tokens.windows(2) {
        if let [name, bang] = pair
            && bang.is("!")
            && NO_MACRO.contains(&name.text.as_str())
        {
            found.push(format!("{}:{}: macro `{}!`", path.display(), name.line, name.text));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Vec<String> {
        complaints(Path::new(path), text.as_bytes())
    }

    #[test]
    fn plain_files_pass() {
        assert!(of("README.md", "A chat engine.\nframework/ and net/work/ are words.").is_empty());
        assert!(of("a.rs", "// todo!() and #[ignore] in a comment\nfn a() {}").is_empty());
        assert!(of("a.rs", "const A: &str = \"#[ignore]\"; fn todo() {} ").is_empty());
        assert!(complaints(Path::new("a.png"), &[0xff, 0x00]).is_empty());
    }

    #[test]
    fn every_word_on_the_list_is_found() {
        for Word { word, .. } in WORDS {
            assert_eq!(of("a.txt", &format!("see `{word}x`")).len(), 1, "{word}");
            assert_eq!(of("a.txt", word).len(), 1, "{word}");
        }
        let host = format!("https://static.{}", WORDS.first().unwrap().word);
        assert_eq!(of("a.txt", &host).len(), 1);
    }

    #[test]
    fn lock_file_may_name_its_source_only() {
        let line = format!("source = \"registry+{LOCK_SOURCE}\"");
        assert!(of("Cargo.lock", &line).is_empty());
        assert_eq!(of("other.lock", &line).len(), 1);
        let other = line.replace("github.com", "example.org");
        assert_eq!(of("Cargo.lock", &other).len(), 1);
    }

    #[test]
    fn marks_in_source_are_found() {
        assert_eq!(of("a.rs", "#[test]\n#[ignore]\nfn a() {}").len(), 1);
        assert_eq!(of("a.rs", "#[ignore = \"slow\"] fn a() {}").len(), 1);
        assert_eq!(of("a.rs", "#[cfg_attr(windows, ignore)] fn a() {}").len(), 1);
        assert_eq!(of("a.rs", "#[should_panic(expected = \"x\")] fn a() {}").len(), 1);
        assert_eq!(of("a.rs", "fn a() { todo!() }").len(), 1);
        assert_eq!(of("a.md", "#[ignore]").len(), 0);
    }

    #[test]
    fn large_files_and_unfinished_merges_are_found() {
        let at_most = vec![b'a'; 1024 * 1024];
        assert!(complaints(Path::new("a"), &at_most).is_empty());
        assert_eq!(complaints(Path::new("a"), &[at_most, vec![b'a']].concat()).len(), 1);
        assert_eq!(of("a.rs", "<<<<<<< HEAD\n>>>>>>> other").len(), 2);
    }

    #[test]
    fn package_without_the_lints_is_found() {
        assert!(takes_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!takes_lints("[package]\nname = \"a\"\n"));
        assert!(!takes_lints("[lints]\n\n[dependencies]\nworkspace = true\n"));
    }
}
