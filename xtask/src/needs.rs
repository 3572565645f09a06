//! Finds the programs that the tests start, or installs them.
//!
//! A test gets the path of its program from the environment variable named here and never looks
//! for it itself, so what was found and checked is what runs.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::child::Children;
use crate::services::SERVICES;
use crate::steps::Steps;
use crate::summary::say;

/// A program that the tests need.
#[derive(Clone, Copy, Debug)]
struct Program {
    /// The environment variable that overrides the search, and tells the tests the result.
    variable: &'static str,
    /// The names to search for, the best first.
    names: &'static [&'static str],
    /// The Debian package that brings it.
    package: &'static str,
    /// What it prints its version for; none if it has no such word.
    version: Option<&'static str>,
}

const VERSION: Option<&str> = Some("--version");

/// Add a row for another program.
const PROGRAMS: &[Program] = &[
    Program { variable: "GIT", names: &["git"], package: "git", version: VERSION },
    Program {
        variable: "CHROMIUM",
        names: &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"],
        package: "chromium",
        version: VERSION,
    },
    Program {
        variable: "CHROMEDRIVER",
        names: &["chromedriver"],
        package: "chromium-driver",
        version: VERSION,
    },
    Program { variable: "POSTGRES", names: &["postgres"], package: "postgresql", version: VERSION },
    Program {
        variable: "MARIADBD",
        names: &["mariadbd"],
        package: "mariadb-server",
        version: VERSION,
    },
    Program {
        variable: "MARIADB_INSTALL_DB",
        names: &["mariadb-install-db"],
        package: "mariadb-server",
        version: None,
    },
    Program { variable: "OPENSSL", names: &["openssl"], package: "openssl", version: None },
    Program {
        variable: "REDIS_SERVER",
        names: &["redis-server", "valkey-server"],
        package: "redis-server",
        version: VERSION,
    },
];

/// Pairs that work only if their major versions are the same.
const SAME_MAJOR: &[(&str, &str)] = &[("CHROMIUM", "CHROMEDRIVER")];

/// The programs step: afterwards every later step has each program's path in its environment.
///
/// # Errors
///
/// When a program is missing and cannot be installed, or doesn't run; says how to mend it.
pub(crate) fn check(steps: &mut Steps) -> Result<String> {
    provide(&mut steps.children, |_| true)
}

/// The programs step of a run that needs no more than the databases.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn databases(steps: &mut Steps) -> Result<String> {
    let wanted: Vec<_> = SERVICES.iter().flat_map(|service| service.programs).collect();
    provide(&mut steps.children, |variable| wanted.contains(&&variable))
}

/// Finds or installs the programs whose variables are wanted, and tells every later command their
/// paths; returns their versions.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn provide(
    children: &mut Children,
    wanted: impl Fn(&'static str) -> bool,
) -> Result<String> {
    let wanted: Vec<_> =
        PROGRAMS.iter().copied().filter(|program| wanted(program.variable)).collect();
    let found = find_or_install(&wanted, &World::from_environment(), children)?;
    let mut versions = Vec::new();
    for (program, path) in &found {
        children.set_environment(program.variable, path.as_os_str());
        let place = format!("{}={}", program.variable, path.display());
        match version(program, path, children)? {
            Some(version) => {
                say(&format!("{place} ({version})"));
                versions.push((program.variable, version));
            }
            None => say(&place),
        }
    }
    same_major(&versions)?;
    Ok(versions.into_iter().map(|(_, version)| version).collect::<Vec<_>>().join(", "))
}

/// What the search depends on, so that a test can make its own.
#[derive(Debug)]
struct World {
    search: Vec<PathBuf>,
    variable: fn(&str) -> Option<OsString>,
    root: bool,
}

impl World {
    fn from_environment() -> Self {
        Self {
            search: test_servers::places(),
            variable: |name| std::env::var_os(name).filter(|value| !value.is_empty()),
            root: rustix::process::geteuid().is_root(),
        }
    }

    /// Where `program` is. An override that points nowhere is an error, not a reason to search.
    fn find(&self, program: &Program) -> Result<Option<PathBuf>> {
        let Some(path) = (self.variable)(program.variable) else {
            return Ok(program.names.iter().find_map(|name| self.search_for(name)));
        };
        let path = PathBuf::from(path);
        if !runnable(&path) {
            bail!("{}={} is no program that can be run", program.variable, path.display());
        }
        Ok(Some(path))
    }

    fn search_for(&self, name: &str) -> Option<PathBuf> {
        self.search.iter().map(|folder| folder.join(name)).find(|path| runnable(path))
    }
}

type Found<'a> = Vec<(&'a Program, PathBuf)>;

fn find_or_install<'a>(
    programs: &'a [Program],
    world: &World,
    children: &Children,
) -> Result<Found<'a>> {
    let (found, missing) = look(programs, world)?;
    if missing.is_empty() {
        return Ok(found);
    }
    install(&missing, world, children).with_context(|| by_hand(&missing))?;
    let (found, missing) = look(programs, world)?;
    if !missing.is_empty() {
        bail!("still missing after the installation; {}", by_hand(&missing));
    }
    Ok(found)
}

fn look<'a>(programs: &'a [Program], world: &World) -> Result<(Found<'a>, Vec<&'a Program>)> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for program in programs {
        match world.find(program)? {
            Some(path) => found.push((program, path)),
            None => missing.push(program),
        }
    }
    Ok((found, missing))
}

fn by_hand(missing: &[&Program]) -> String {
    let variables: Vec<_> = missing.iter().map(|program| program.variable).collect();
    format!(
        "missing programs: install them with `apt-get install {}`, or set {} to their paths",
        packages(missing).join(" "),
        variables.join(" and ")
    )
}

/// Each once: a package can bring several programs.
fn packages(missing: &[&Program]) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing.iter().map(|program| program.package).collect();
    packages.dedup();
    packages
}

/// Installs what is missing with apt-get, as root or by a sudo that asks for no password.
fn install(missing: &[&Program], world: &World, children: &Children) -> Result<()> {
    let apt = world.search_for("apt-get").context("this system has no apt-get")?;
    let mut front = Vec::new();
    if !world.root {
        let sudo = world.search_for("sudo").context("neither root nor sudo is at hand")?;
        let mut probe = Command::new(&sudo);
        probe.args(["-n", "true"]).stderr(Stdio::null());
        children.output(&mut probe).context("sudo asks for a password")?;
        front.extend([sudo.into_os_string(), "-n".into()]);
    }
    front.extend(["env".into(), "DEBIAN_FRONTEND=noninteractive".into(), apt.into_os_string()]);
    // Another apt-get may be at work, as on a machine that has just been set up.
    front.extend(["-o".into(), "DPkg::Lock::Timeout=300".into()]);
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(&front, &["update"], children)?;
    apt_get(&front, &[&install, packages(missing).as_slice()].concat(), children)
}

fn apt_get(front: &[OsString], words: &[&str], children: &Children) -> Result<()> {
    let [first, rest @ ..] = front else { bail!("no command") };
    let mut command = Command::new(first);
    command.args(rest).args(words);
    let label = crate::child::shown(&command);
    say(&format!("$ {label}"));
    let ended = children.run(&mut command)?;
    if !ended.status.success() {
        bail!("`{label}` failed ({})", ended.status);
    }
    Ok(())
}

fn runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Runs the program once: one that is there but cannot start is found out here, by name.
fn version(program: &Program, path: &Path, children: &Children) -> Result<Option<String>> {
    let Some(word) = program.version else { return Ok(None) };
    let printed = children.output(Command::new(path).arg(word)).with_context(|| {
        format!("{} doesn't run; reinstall the package {}", path.display(), program.package)
    })?;
    Ok(Some(name_and_number(printed.lines().next().unwrap_or_default())))
}

/// `ChromeDriver 140.0.1` of `ChromeDriver 140.0.1 (commit hash …)`, and the like; a line without
/// a number as it is.
fn name_and_number(line: &str) -> String {
    let digit = |c: char| c.is_ascii_digit();
    let numbered = |word: &str| word.starts_with(digit) || word.starts_with("v=");
    // Some name themselves by their path.
    let line = line.rsplit_once("bin/").map_or(line, |(_, name)| name);
    let words: Vec<_> = line.split_whitespace().collect();
    let end = words.iter().position(|word| numbered(word)).map_or(words.len(), |at| at + 1);
    words.get(..end).unwrap_or_default().join(" ")
}

fn same_major(versions: &[(&str, String)]) -> Result<()> {
    let major = |variable: &str| {
        let (_, version) = versions.iter().find(|(name, _)| *name == variable)?;
        let number = version.split(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        Some(number?.split('.').next()?.to_owned())
    };
    for (one, other) in SAME_MAJOR {
        if let (Some(a), Some(b)) = (major(one), major(other))
            && a != b
        {
            bail!("{one} is version {a} but {other} is version {b}; install them together");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::alone;

    const TOOL: Program = Program {
        variable: "TOOL",
        names: &["tool", "tool2"],
        package: "toolpack",
        version: Some("-V"),
    };

    fn program(folder: &Path, name: &str, body: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn world(folder: &Path, root: bool) -> World {
        let search = vec![folder.to_owned()];
        World { search, variable: |_| None, root }
    }

    /// An apt-get that logs its arguments and installs `tool` on `install`.
    fn apt_get_of(folder: &Path) {
        let at = folder.display();
        let body = format!(
            "echo \"$@\" >> {at}/log\ncase \"$*\" in *install*) printf '#!/bin/sh\\necho tool 1.2\\n' > {at}/tool; chmod +x {at}/tool;; esac"
        );
        program(folder, "apt-get", &body);
    }

    #[test]
    fn program_on_the_path_is_found_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let second = program(folder.path(), "tool2", "");
        assert_eq!(world(folder.path(), false).find(&TOOL).unwrap(), Some(second));
    }

    #[test]
    fn file_that_cannot_be_run_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        assert_eq!(world(folder.path(), false).find(&TOOL).unwrap(), None);
    }

    #[test]
    fn override_wins_and_must_be_right() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "tool", "");
        let mut world = world(folder.path(), false);
        world.variable = |_| Some("/bin/sh".into());
        assert_eq!(world.find(&TOOL).unwrap(), Some(PathBuf::from("/bin/sh")));
        world.variable = |_| Some("/nowhere/tool".into());
        assert!(world.find(&TOOL).unwrap_err().to_string().contains("TOOL=/nowhere/tool"));
    }

    #[test]
    fn missing_program_is_installed_by_root() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        apt_get_of(folder.path());
        let children = Children::default();
        let found = find_or_install(&[TOOL], &world(folder.path(), true), &children).unwrap();
        let path = &found.first().unwrap().1;
        assert_eq!(version(&TOOL, path, &children).unwrap().unwrap(), "tool 1.2");
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let calls: Vec<_> = log.lines().collect();
        assert!(calls.first().unwrap().ends_with("update"));
        assert!(calls.last().unwrap().contains("install --yes --no-install-recommends toolpack"));
    }

    #[test]
    fn sudo_without_password_installs_too() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        apt_get_of(folder.path());
        program(folder.path(), "sudo", "shift; exec \"$@\"");
        let world = world(folder.path(), false);
        assert!(find_or_install(&[TOOL], &world, &Children::default()).is_ok());
    }

    #[test]
    fn sudo_that_asks_is_an_error_with_the_way_to_mend_it() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        apt_get_of(folder.path());
        program(folder.path(), "sudo", "exit 1");
        let world = world(folder.path(), false);
        let error = find_or_install(&[TOOL], &world, &Children::default()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("apt-get install toolpack"), "{text}");
        assert!(text.contains("set TOOL to"), "{text}");
        assert!(text.contains("sudo asks for a password"), "{text}");
    }

    #[test]
    fn without_apt_get_nothing_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path(), true);
        let error = find_or_install(&[TOOL], &world, &Children::default()).unwrap_err();
        assert!(format!("{error:#}").contains("no apt-get"));
    }

    #[test]
    fn version_is_short() {
        let short = [
            ("ChromeDriver 140.0.1 (abc-refs/heads)", "ChromeDriver 140.0.1"),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0)", "postgres (PostgreSQL) 15.18"),
            (
                "/usr/sbin/mariadbd  Ver 10.11.19-MariaDB for debian",
                "mariadbd Ver 10.11.19-MariaDB",
            ),
            ("Redis server v=7.0.15 sha=00:0 bits=64", "Redis server v=7.0.15"),
            ("git version 2.39.5", "git version 2.39.5"),
            ("no number (at all)", "no number (at all)"),
        ];
        for (line, expected) in short {
            assert_eq!(name_and_number(line), expected);
        }
    }

    #[test]
    fn each_service_has_its_programs_here() {
        for variable in SERVICES.iter().flat_map(|service| service.programs) {
            assert!(PROGRAMS.iter().any(|program| program.variable == *variable), "{variable}");
        }
    }

    #[test]
    fn package_with_several_programs_is_installed_once() {
        assert_eq!(packages(&[&TOOL, &TOOL]), ["toolpack"]);
    }

    #[test]
    fn browser_and_driver_of_different_versions_are_refused() {
        let versions = |browser: &str, driver: &str| {
            [
                ("CHROMIUM", format!("Chromium {browser}")),
                ("CHROMEDRIVER", format!("ChromeDriver {driver}")),
            ]
        };
        assert!(same_major(&versions("140.0.1", "140.0.9")).is_ok());
        assert!(same_major(&versions("140.0.1", "139.0.1")).is_err());
    }
}
