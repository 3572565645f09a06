//! What a figure depends on besides the code: the machine, its load, the versions.

use std::path::Path;
use std::process::Command;

pub(crate) type Facts = Vec<(&'static str, String)>;

/// Everything about the machine, for the head of the report.
pub(crate) fn facts(data: &Path) -> Facts {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processor", format!("{}, {cores} cores for this process", processor())),
        ("memory", memory()),
        (
            "system",
            first_line("/proc/sys/kernel/osrelease")
                .map_or_else(unknown, |kernel| format!("Linux {kernel}")),
        ),
        ("file system of the databases", file_system(data)),
        ("compiler", output("rustc", &["--version"])),
        ("source", output("git", &["describe", "--always", "--dirty"])),
        ("SQLite", rusqlite::version().to_owned()),
        ("engine", format!("chat-core {}", env!("CARGO_PKG_VERSION"))),
    ]
}

/// How busy the machine is, in the kernel's words.
pub(crate) fn load_average() -> String {
    first_line("/proc/loadavg")
        .and_then(|line| line.split(' ').next().map(str::to_owned))
        .unwrap_or_else(unknown)
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or_else(unknown, |(_, name)| name.trim().into())
}

fn memory() -> String {
    let line = first_line("/proc/meminfo").unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.map_or_else(unknown, |kib| format!("{} MiB", kib / 1024))
}

/// The type of the file system that a path is on: that of the longest mount point above it.
fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        path.starts_with(point).then_some((point.len(), kind))
    });
    above.max_by_key(|(length, _)| *length).map_or_else(unknown, |(_, kind)| kind.to_owned())
}

fn first_line(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let output = output.filter(|output| output.status.success());
    output.map_or_else(unknown, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_file_system() {
        assert_ne!(file_system(Path::new("/")), "unknown");
    }

    #[test]
    fn every_fact_says_something() {
        assert!(facts(Path::new("/")).iter().all(|(_, fact)| !fact.is_empty()));
        assert!(load_average().parse::<f64>().is_ok());
    }
}
