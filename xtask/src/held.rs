//! The shared servers of one run: started by a step, ended when the run ends.

use anyhow::{Result, bail};

use crate::services::{SERVICES, Server, Service, answers, at_once, given};
use crate::steps::Steps;
use crate::summary::say;

/// What the summary calls their end.
pub(crate) const END: &str = "services end";

/// The servers that this run has started.
#[derive(Debug, Default)]
pub(crate) struct Held {
    servers: Vec<(&'static Service, Box<dyn Server>)>,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Ends all.
    ///
    /// # Errors
    ///
    /// Names those that had ended by themselves before.
    pub(crate) fn end(&mut self) -> Result<()> {
        let mut ended = Vec::new();
        for (service, mut server) in self.servers.drain(..) {
            if let Err(error) = server.check() {
                say(&format!("{error:#}"));
                ended.push(service.name);
            }
        }
        if !ended.is_empty() {
            bail!("ended by itself, before the run did: {}", ended.join(", "));
        }
        Ok(())
    }
}

/// The services step: afterwards every later step has each server's URL in its environment.
///
/// # Errors
///
/// When a server doesn't start, or the user's own doesn't answer.
pub(crate) fn start(steps: &mut Steps) -> Result<String> {
    start_all(steps, SERVICES, given)
}

fn start_all(
    steps: &mut Steps,
    services: &'static [Service],
    given: fn(&str) -> Option<String>,
) -> Result<String> {
    let mut own = Vec::new();
    for service in services {
        match given(service.variable) {
            Some(url) => {
                answers(service, &url)?;
                say(&format!("{} is set: no {} is started", service.variable, service.name));
            }
            None => own.push(service),
        }
    }
    let mut failed = None;
    for (service, started) in at_once(&own, |service| (service.start)()) {
        match started {
            Ok(server) => {
                let url = server.url();
                say(&format!("{}={url} ({})", service.variable, service.name));
                steps.children.set_environment(service.variable, url);
                steps.children.hold(server.processes());
                // Also beside one that failed, so that all are ended in one place.
                steps.held.servers.push((service, server));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if steps.children.interrupted() {
        bail!("interrupted");
    }
    let names: Vec<_> = own.iter().map(|service| service.name).collect();
    Ok(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    use crate::child::{Children, tests::alone};
    use crate::metadata::Metadata;
    use crate::steps::{Record, Step, Verdict};
    use test_servers::Redis;

    const REDIS: &[Service] = &[Service {
        name: "Redis",
        folder: "redis",
        variable: "CHAT_TEST_REDIS",
        programs: &[],
        start: || Ok(Box::new(Redis::start()?)),
        start_kept: |_| bail!("not asked for"),
    }];

    fn steps() -> Steps {
        let metadata =
            Metadata { packages: vec![], workspace_members: vec![], workspace_root: "/".into() };
        Steps::new(Children::default(), metadata)
    }

    fn passed(records: &[Record]) -> Vec<(&str, bool)> {
        let passed = |record: &Record| matches!(record.verdict, Verdict::Passed(_));
        records.iter().map(|record| (record.name, passed(record))).collect()
    }

    #[test]
    fn server_lasts_through_the_steps_and_ends_after_a_failure() {
        let _alone = alone();
        let mut steps = steps();
        let services = Step { name: "services", act: |steps| start_all(steps, REDIS, |_| None) };
        let uses = |steps: &mut Steps| {
            let mut command = Command::new("sh");
            steps.command(command.args(["-c", "test -n \"$CHAT_TEST_REDIS\""]))?;
            Ok(String::new())
        };
        let uses = Step { name: "uses", act: uses };
        let fails = Step { name: "fails", act: |_| bail!("a test failed") };
        steps.run(&[services, uses, uses, fails]);
        let (_, server) = steps.held.servers.first_mut().unwrap();
        server.check().unwrap();
        let processes = server.processes();
        assert_eq!(processes.len(), 1);
        let records = passed(steps.finish());
        let expected =
            [("services", true), ("uses", true), ("uses", true), ("fails", false), (END, true)];
        assert_eq!(records, expected);
        for process in processes {
            assert!(!Path::new("/proc").join(process.to_string()).exists());
        }
    }

    #[test]
    fn server_that_ended_by_itself_fails_the_run() {
        let _alone = alone();
        let mut steps = steps();
        let services = Step { name: "services", act: |steps| start_all(steps, REDIS, |_| None) };
        steps.run(&[services]);
        let processes: Vec<_> =
            steps.held.servers.iter().flat_map(|(_, server)| server.processes()).collect();
        for process in processes {
            let mut kill = Command::new("sh");
            kill.args(["-c", &format!("kill -9 {process}")]);
            steps.command(&mut kill).unwrap();
        }
        let (_, server) = steps.held.servers.first_mut().unwrap();
        while server.check().is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(passed(steps.finish()), [("services", true), (END, false)]);
    }

    #[test]
    fn nothing_is_started_or_ended_where_the_user_has_servers() {
        let mut steps = steps();
        let given = |_: &str| Some("redis+unix:".to_owned());
        assert_eq!(start_all(&mut steps, REDIS, given).unwrap(), "");
        assert!(steps.held.is_empty());
        assert!(steps.finish().is_empty());
    }
}
