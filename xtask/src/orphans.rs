//! Finds and ends the processes that outlived the command that started them.
//!
//! On Linux this process adopts whatever its descendants leave behind, so that a forgotten server
//! is found even if it made a process group of its own. Elsewhere nothing is found.

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{adopt, end_all};
#[cfg(target_os = "linux")]
pub(crate) use linux::{adopt, end_all};

#[cfg(target_os = "linux")]
mod linux {
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::process::{
        Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
    };

    /// Shared build servers that outlive a build on purpose.
    const KEPT: &[&str] = &["sccache"];
    const LOOK_AGAIN: Duration = Duration::from_millis(50);

    struct Process {
        pid: i32,
        parent: i32,
        name: String,
        ended: bool,
    }

    /// Makes this process the parent of orphaned descendants.
    pub(crate) fn adopt() -> rustix::io::Result<()> {
        set_child_subreaper(Some(getpid()))
    }

    /// Waits until no descendant is left, ends those that stay, and names them. Children in
    /// `held` and what is below them are no concern of it.
    pub(crate) fn end_all(grace: Duration, held: &[u32]) -> Vec<String> {
        let until = Instant::now() + grace;
        loop {
            let left = descendants(held);
            if left.is_empty() {
                return Vec::new();
            }
            if Instant::now() >= until {
                return left.iter().map(end).collect();
            }
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn end(process: &Process) -> String {
        if let Some(pid) = Pid::from_raw(process.pid) {
            // It may have ended since it was listed.
            let _ = kill_process(pid, Signal::KILL);
        }
        format!("{} ({})", process.name, process.pid)
    }

    /// Those that run; of children that have ended the system is told that it may forget them.
    fn descendants(held: &[u32]) -> Vec<Process> {
        let own = own();
        let is_held =
            |process: &Process| u32::try_from(process.pid).is_ok_and(|pid| held.contains(&pid));
        let mut rest = processes();
        rest.retain(|process| !is_held(process));
        let mut found: Vec<Process> = Vec::new();
        let mut parents = vec![own];
        while let Some(parent) = parents.pop() {
            let (children, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|process| process.parent == parent);
            rest = others;
            parents.extend(children.iter().map(|child| child.pid));
            found.extend(children);
        }
        for child in found.iter().filter(|process| process.ended && process.parent == own) {
            let _ = waitpid(Pid::from_raw(child.pid), WaitOptions::NOHANG);
        }
        found.retain(|process| !process.ended && !KEPT.contains(&process.name.as_str()));
        found
    }

    fn own() -> i32 {
        getpid().as_raw_nonzero().get()
    }

    fn processes() -> Vec<Process> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
            .filter_map(|stat| parse(&stat))
            .collect()
    }

    /// Reads `pid (name) state parent …`; the name may hold spaces and parentheses.
    fn parse(stat: &str) -> Option<Process> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        Some(Process {
            pid: pid.parse().ok()?,
            parent: fields.next()?.parse().ok()?,
            name: name.to_owned(),
            ended: matches!(state, "Z" | "X"),
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn stat_line_is_read_whatever_the_name() {
            let process = parse("42 (a) b (c) S 7 42 42 0 -1").unwrap();
            assert_eq!((process.pid, process.parent, process.ended), (42, 7, false));
            assert_eq!(process.name, "a) b (c");
            assert!(parse("43 (x) Z 7 42").unwrap().ended);
            assert!(parse("nonsense").is_none());
        }

        #[test]
        fn own_parent_is_listed() {
            assert!(processes().iter().any(|process| process.pid == own() && !process.ended));
        }
    }
}

/// Elsewhere the process group is all that is ended.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::time::Duration;

    pub(crate) fn adopt() -> rustix::io::Result<()> {
        Ok(())
    }

    pub(crate) fn end_all(_grace: Duration, _held: &[u32]) -> Vec<String> {
        Vec::new()
    }
}
