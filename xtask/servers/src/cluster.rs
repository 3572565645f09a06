//! A private Redis Cluster.

use std::path::Path;

use anyhow::{Context, Result};

use crate::kept::Kept;
use crate::redis::{Flavour, Fsync, Role, command, url, wait_until};
use crate::server::Server;

const MASTERS: usize = 3;
const NODES: usize = 6;
const SLOTS: usize = 16_384;

/// A Redis Cluster of six nodes, each as durable as [`Redis`](crate::Redis): at first the nodes
/// 0, 1 and 2 are masters with a third of the slots each, and 3, 4 and 5 replicas of them in this
/// order. A master that is gone for two seconds is replaced by its replica.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Server<Flavour>>,
}

impl RedisCluster {
    /// Starts the nodes and joins them; returns when every node sees the whole cluster as sound
    /// and every replica has its master's data. Takes some seconds.
    ///
    /// # Errors
    ///
    /// When the program is missing, a node doesn't start, or the nodes don't agree.
    pub fn start() -> Result<Self> {
        Self::join(|_| Server::start(node()))
    }

    /// As [`RedisCluster::start`], but it runs on after this process, in new folders within
    /// `folder`. Dropped without [`RedisCluster::keep`] it ends.
    ///
    /// # Errors
    ///
    /// As [`RedisCluster::start`].
    pub fn start_kept(folder: &Path) -> Result<Self> {
        Self::join(|index| Server::start_kept(node(), &folder.join(index.to_string())))
    }

    /// Lets go of a cluster that [`RedisCluster::start_kept`] started.
    ///
    /// # Errors
    ///
    /// When a node has been killed; those before it are let go of nevertheless.
    pub fn keep(self) -> Result<Vec<Kept>> {
        self.nodes.into_iter().map(Server::keep).collect()
    }

    /// Where to connect to: the first node.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.first().map(url).unwrap_or_default()
    }

    /// Every node, by index.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(url).collect()
    }

    /// The processes that were started, of the nodes that run.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Server::id).collect()
    }

    /// Whether every node that was not killed still runs.
    ///
    /// # Errors
    ///
    /// When one has ended by itself; with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Server::check)
    }

    /// Kills a node and waits for its end. The others find out after two seconds.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn kill_node(&mut self, index: usize) -> Result<()> {
        self.node_mut(index)?.kill()
    }

    /// Starts a node again on the same port and data. If every node runs then, it returns when
    /// all see the whole cluster as sound, else when this one has loaded its data and answers. A
    /// master that was replaced comes back as a replica.
    ///
    /// # Errors
    ///
    /// When there is no such node, it doesn't start, or the nodes don't agree.
    pub fn restart_node(&mut self, index: usize) -> Result<()> {
        self.node_mut(index)?.restart()?;
        if self.nodes.iter().all(Server::runs) {
            self.wait_until(Self::is_sound).context("wait for the cluster to be sound again")?;
        }
        Ok(())
    }

    /// Runs a command on one node, which may answer that another is in charge; a line for each
    /// element of the reply.
    ///
    /// # Errors
    ///
    /// When there is no such node, it can't be reached, or it answers with an error.
    pub fn command(&self, index: usize, words: &[&str]) -> Result<String> {
        let node = self.nodes.get(index).with_context(|| no_node(index))?;
        command(node, words)
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.nodes.iter().map(Server::port)
    }

    pub(crate) fn port(&self, index: usize) -> Result<u16> {
        self.ports().nth(index).with_context(|| no_node(index))
    }

    pub(crate) fn node_mut(&mut self, index: usize) -> Result<&mut Server<Flavour>> {
        self.nodes.get_mut(index).with_context(|| no_node(index))
    }

    fn join(start: impl Fn(usize) -> Result<Server<Flavour>>) -> Result<Self> {
        let nodes: Result<_> = (0..NODES).map(start).collect();
        let cluster = Self { nodes: nodes? };
        cluster.introduce().context("join the nodes of a private Redis Cluster")?;
        Ok(cluster)
    }

    fn introduce(&self) -> Result<()> {
        let mut names = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            // Different from the start: nodes that find theirs equal settle it one by one.
            self.command(index, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
            names.push(self.command(index, &["CLUSTER", "MYID"])?);
            if index < MASTERS {
                self.give_slots(index)?;
            }
            if index > 0 {
                self.command(0, &["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()])?;
            }
        }
        // A replica can follow only a master that it knows.
        self.wait_until(|cluster| cluster.all(|info| info.nodes == NODES))?;
        for (replica, master) in (MASTERS..NODES).zip(&names) {
            self.wait_until(|cluster| {
                let known = cluster.command(replica, &["CLUSTER", "NODES"])?;
                Ok(known.lines().any(|line| line.starts_with(master) && is_master(line)))
            })?;
            self.command(replica, &["CLUSTER", "REPLICATE", master])?;
        }
        self.wait_until(Self::is_sound)
    }

    fn give_slots(&self, index: usize) -> Result<()> {
        let slots = SLOTS * index / MASTERS..SLOTS * (index + 1) / MASTERS;
        let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
        let words = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
        self.command(index, &words.collect::<Vec<_>>()).map(|_| ())
    }

    /// Whether every node sees all slots in good hands, all nodes as alive, and half of them as
    /// replicas; and every replica hears its master.
    fn is_sound(&self) -> Result<bool> {
        if !self.all(|info| info.ok && info.slots_ok == SLOTS && info.nodes == NODES)? {
            return Ok(false);
        }
        for index in 0..NODES {
            let nodes = self.command(index, &["CLUSTER", "NODES"])?;
            let lines: Vec<_> = nodes.lines().map(flags).collect();
            let replicas = lines.iter().filter(|flags| flags.contains(&"slave")).count();
            let unwell = ["fail", "fail?", "handshake", "noaddr"];
            let well = !lines.iter().flatten().any(|flag| unwell.contains(flag));
            if replicas != NODES - MASTERS || !well {
                return Ok(false);
            }
            let replication = self.command(index, &["INFO", "replication"])?;
            let linked = replication
                .lines()
                .any(|line| line == "master_link_status:up" || line == "connected_slaves:1");
            if !linked {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn all(&self, holds: impl Fn(&Info) -> bool) -> Result<bool> {
        for index in 0..NODES {
            if !holds(&Info::read(&self.command(index, &["CLUSTER", "INFO"])?)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn wait_until(&self, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        wait_until("the nodes don't agree", || holds(self)).map_err(|error| {
            let seen = self.command(0, &["CLUSTER", "NODES"]);
            let seen = seen.unwrap_or_else(|error| format!("{error:#}"));
            error.context(format!("the first node sees:\n{seen}"))
        })
    }
}

fn node() -> Flavour {
    Flavour { fsync: Fsync::Always, role: Role::Node }
}

fn no_node(index: usize) -> String {
    format!("the cluster has the nodes 0 to {}, no node {index}", NODES - 1)
}

/// What a node says of the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    ok: bool,
    slots_ok: usize,
    nodes: usize,
}

impl Info {
    fn read(text: &str) -> Self {
        let value = |name: &str| {
            text.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
        };
        let number = |name: &str| value(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            ok: value("cluster_state") == Some("ok"),
            slots_ok: number("cluster_slots_ok"),
            nodes: number("cluster_known_nodes"),
        }
    }
}

/// The flags in a line of `CLUSTER NODES`: name, address, flags, ….
fn flags(line: &str) -> Vec<&str> {
    line.split(' ').nth(2).unwrap_or_default().split(',').collect()
}

fn is_master(line: &str) -> bool {
    flags(line).contains(&"master")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_by_name() {
        let text = "cluster_state:ok\r\ncluster_slots_assigned:7\r\ncluster_slots_ok:5\r\n\
                    cluster_known_nodes:6\r\n";
        assert_eq!(Info::read(text), Info { ok: true, slots_ok: 5, nodes: 6 });
        assert_eq!(Info::read(""), Info::default());
    }

    #[test]
    fn flags_are_the_third_word() {
        let line = "07c3 127.0.0.1:30004@31004,host slave,fail? e7d1 0 1426238317239 4 connected";
        assert_eq!(flags(line), ["slave", "fail?"]);
        assert!(!is_master(line));
    }
}
