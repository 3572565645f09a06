//! Slots of a Redis Cluster: who holds them, how they move, and who takes whose place.

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::cluster::RedisCluster;
use crate::redis::wait_until;

/// A slot on its way from one node to another: its keys are with either, and clients are sent on
/// (`ASK`, or `TRYAGAIN` where a command names keys of both).
#[derive(Debug)]
pub struct SlotMove {
    slot: String,
    from: usize,
    to: usize,
}

impl RedisCluster {
    /// The slot of a key.
    ///
    /// # Errors
    ///
    /// When the node `asked` can't be reached.
    pub fn slot_of(&self, asked: usize, key: &str) -> Result<u16> {
        self.command(asked, &["CLUSTER", "KEYSLOT", key])?.parse().context("read a slot")
    }

    /// The master that holds a slot, as the node `asked` sees it.
    ///
    /// # Errors
    ///
    /// When that can't be reached, or knows none.
    pub fn holder(&self, asked: usize, slot: u16) -> Result<usize> {
        let lines = self.command(asked, &["CLUSTER", "NODES"])?;
        let holder = lines.lines().find(|line| {
            line.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
                bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
            })
        });
        self.index_of(holder.context("nobody holds the slot")?)
    }

    /// A replica of a master, as the node `asked` sees it.
    ///
    /// # Errors
    ///
    /// When that can't be reached, or knows none.
    pub fn replica_of(&self, asked: usize, master: usize) -> Result<usize> {
        let lines = self.command(asked, &["CLUSTER", "NODES"])?;
        let mut lines = lines.lines();
        let master = lines.clone().find(|line| self.index_of(line).ok() == Some(master));
        let name = master.and_then(|line| line.split(' ').next()).context("no such master")?;
        let replica = lines.find(|line| line.split(' ').nth(3) == Some(name));
        self.index_of(replica.context("it has no replica")?)
    }

    /// Stops a node where it is, as a machine that hangs: its connections stay.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn pause_node(&mut self, index: usize) -> Result<()> {
        self.node_mut(index)?.signal(Signal::STOP);
        Ok(())
    }

    /// Lets a paused node go on.
    ///
    /// # Errors
    ///
    /// When there is no such node.
    pub fn resume_node(&mut self, index: usize) -> Result<()> {
        self.node_mut(index)?.signal(Signal::CONT);
        Ok(())
    }

    /// Makes a replica take its master's place, whatever it lacks and whatever the others think of
    /// it; returns when it is a master.
    ///
    /// # Errors
    ///
    /// When it can't be reached or doesn't become one in two minutes.
    pub fn take_over(&self, replica: usize) -> Result<()> {
        wait_until("the replica doesn't become a master", || {
            if self.command(replica, &["ROLE"])?.starts_with("master") {
                return Ok(true);
            }
            self.command(replica, &["CLUSTER", "FAILOVER", "TAKEOVER"])?;
            Ok(false)
        })
    }

    /// Waits until a node is the master of a slot in its own eyes.
    ///
    /// # Errors
    ///
    /// When it isn't in two minutes.
    pub fn wait_until_holder(&self, index: usize, slot: u16) -> Result<()> {
        wait_until("the node doesn't hold the slot", || Ok(self.holder(index, slot)? == index))
    }

    /// Begins to move a slot; its keys stay where they are.
    ///
    /// # Errors
    ///
    /// When a node refuses that.
    pub fn start_move(&self, slot: u16, from: usize, to: usize) -> Result<SlotMove> {
        let slot = slot.to_string();
        let (source, target) = (self.name(from)?, self.name(to)?);
        self.command(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source])?;
        self.command(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target])?;
        Ok(SlotMove { slot, from, to })
    }

    /// Moves some keys of a slot, at most so many; how many it found.
    ///
    /// # Errors
    ///
    /// When a node refuses that.
    pub fn move_keys(&self, moved: &SlotMove, most: usize) -> Result<usize> {
        let most = most.to_string();
        let keys = self.command(moved.from, &["CLUSTER", "GETKEYSINSLOT", &moved.slot, &most])?;
        let keys: Vec<_> = keys.lines().collect();
        if keys.is_empty() {
            return Ok(0);
        }
        let port = self.port(moved.to)?.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "60000", "KEYS"];
        words.extend(&keys);
        self.command(moved.from, &words)?;
        Ok(keys.len())
    }

    /// Ends the move of a slot, when all of its keys were moved.
    ///
    /// # Errors
    ///
    /// When a node refuses that.
    pub fn finish_move(&self, moved: &SlotMove) -> Result<()> {
        let target = self.name(moved.to)?;
        // The new one first, so that the slot is never nobody's.
        for node in [moved.to, moved.from] {
            self.command(node, &["CLUSTER", "SETSLOT", &moved.slot, "NODE", &target])?;
        }
        Ok(())
    }

    fn name(&self, index: usize) -> Result<String> {
        self.command(index, &["CLUSTER", "MYID"])
    }

    /// The node that a line of `CLUSTER NODES` is about.
    fn index_of(&self, line: &str) -> Result<usize> {
        let address = line.split(' ').nth(1).unwrap_or_default();
        let port = address.split_once('@').and_then(|(host, _)| host.rsplit_once(':'));
        let port: u16 = port.context("a node without an address")?.1.parse()?;
        self.ports().position(|known| known == port).context("a node of another cluster")
    }
}
