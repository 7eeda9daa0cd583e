//! The network between the nodes of a cluster, in the hands of a test.
//!
//! Each node reaches each other node at an address of its own, where what it says, and what is answered, is carried on.
//! What goes one way from one node to another can be held back or slowed, on all connections between the two. What was
//! held back arrives once it is let through, as it does where a network loses packets and sends them again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

/// What is carried at once.
const PIECE_BYTES: usize = 65_536;

/// The wires between all nodes. Nothing is carried once they are dropped.
#[derive(Debug)]
pub struct Wires {
    nodes: Vec<usize>,
    lines: BTreeMap<(usize, usize), Line>,
    ways: Arc<Ways>,
}

/// Where one node reaches another.
#[derive(Debug)]
struct Line {
    address: SocketAddr,
    taking: Option<JoinHandle<()>>,
}

/// What holds for each direction, by who speaks and who listens.
#[derive(Debug, Default)]
struct Ways {
    conditions: Mutex<BTreeMap<(usize, usize), Condition>>,
    changed: Condvar,
    over: AtomicBool,
}

/// How a direction is. One without is open.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// Nothing gets through.
    Cut,
    /// Each piece takes so long.
    Slow(Duration),
}

// === impl Wires ===

impl Wires {
    /// Lays wires between nodes, numbered from 1, that listen to each other at these addresses.
    pub(crate) fn lay(addresses: &[SocketAddr]) -> anyhow::Result<Wires> {
        let nodes: Vec<usize> = (1..=addresses.len()).collect();
        let ways = Arc::new(Ways::default());
        let mut lines = BTreeMap::new();
        for &from in &nodes {
            for &to in nodes.iter().filter(|to| **to != from) {
                let line = Line::open((from, to), addresses[to - 1], &ways)?;
                lines.insert((from, to), line);
            }
        }
        Ok(Wires { nodes, lines, ways })
    }

    /// Returns where one node reaches another.
    pub(crate) fn address(&self, from: usize, to: usize) -> SocketAddr {
        self.lines[&(from, to)].address
    }

    /// Holds back what one node says to another.
    pub fn cut(&self, from: usize, to: usize) {
        self.ways.set((from, to), Condition::Cut);
    }

    /// Holds back all that a node says and is told.
    pub fn isolate(&self, node: usize) {
        for other in self.others(node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Makes all that a node says and is told take longer, piece by piece.
    pub fn slow(&self, node: usize, by: Duration) {
        for other in self.others(node) {
            self.ways.set((node, other), Condition::Slow(by));
            self.ways.set((other, node), Condition::Slow(by));
        }
    }

    /// Lets everything through again, what was held back first.
    pub fn mend(&self) {
        self.ways.open_all();
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> {
        self.nodes.iter().copied().filter(move |other| *other != node)
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.ways.end();
        for line in self.lines.values_mut() {
            // Whoever waits for a connection sees by this one that there will be no more.
            let _ = TcpStream::connect(line.address);
            if let Some(taking) = line.taking.take() {
                let _ = taking.join();
            }
        }
    }
}

// === impl Line ===

impl Line {
    fn open((from, to): (usize, usize), target: SocketAddr, ways: &Arc<Ways>) -> anyhow::Result<Line> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a wire")?;
        let address = listener.local_addr()?;
        let ways = Arc::clone(ways);
        let taking = std::thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                if ways.over.load(Ordering::Acquire) {
                    return;
                }
                // One that is not there closes the connection, as a machine does where nobody listens.
                let Ok(called) = TcpStream::connect(target) else {
                    continue;
                };
                connect(&ways, (from, caller), (to, called));
            }
        });
        Ok(Line {
            address,
            taking: Some(taking),
        })
    }
}

/// Carries a connection's bytes in both directions, until either side ends it.
fn connect(ways: &Arc<Ways>, caller: (usize, TcpStream), called: (usize, TcpStream)) {
    for ((from, source), (to, sink)) in [(&caller, &called), (&called, &caller)] {
        let (Ok(source), Ok(sink)) = (source.try_clone(), sink.try_clone()) else {
            return;
        };
        // Batches of small messages are the nodes' own doing.
        let _ = sink.set_nodelay(true);
        let (ways, way) = (Arc::clone(ways), (*from, *to));
        std::thread::spawn(move || {
            carry(&ways, way, &source, &sink);
            // The end is told like all else: not through a cut.
            ways.wait_to_pass(way);
            let _ = source.shutdown(Shutdown::Both);
            let _ = sink.shutdown(Shutdown::Both);
        });
    }
}

fn carry(ways: &Ways, way: (usize, usize), mut source: &TcpStream, mut sink: &TcpStream) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(read) = source.read(&mut piece)
        && read > 0
    {
        ways.wait_to_pass(way);
        if sink.write_all(&piece[..read]).is_err() {
            return;
        }
    }
}

// === impl Ways ===

impl Ways {
    fn set(&self, way: (usize, usize), condition: Condition) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.insert(way, condition);
    }

    fn open_all(&self) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.clear();
        drop(conditions);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.open_all();
    }

    /// Waits until what goes one way may go on.
    fn wait_to_pass(&self, way: (usize, usize)) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(condition) = conditions.get(&way).copied() {
            match condition {
                Condition::Cut => {
                    let woken = self.changed.wait(conditions);
                    conditions = woken.unwrap_or_else(PoisonError::into_inner);
                }
                Condition::Slow(by) => {
                    drop(conditions);
                    std::thread::sleep(by);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays wires to a listener of the test's own as node 2, and returns both ends of a connection from node 1.
    fn connected() -> (Wires, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let there = listener.local_addr().expect("it is bound");
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let wires = Wires::lay(&[nowhere, there]).expect("wires");
        let caller = TcpStream::connect(wires.address(1, 2)).expect("a wire is there");
        let (called, _) = listener.accept().expect("it is carried on");
        (wires, caller, called)
    }

    fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).expect("bytes come");
        bytes
    }

    #[test]
    fn what_is_cut_one_way_is_held_back_and_the_other_way_goes_on() {
        let (wires, mut caller, mut called) = connected();
        wires.cut(1, 2);
        caller.write_all(b"held").expect("it is taken");
        called.write_all(b"free").expect("it is taken");
        assert_eq!(read(&mut caller, 4), b"free");
        called
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        assert!(called.read(&mut [0; 4]).is_err(), "it got through a cut");
        called.set_read_timeout(None).expect("no timeout");
        wires.mend();
        assert_eq!(read(&mut called, 4), b"held");
    }

    #[test]
    fn the_end_of_a_connection_is_told() {
        let (wires, caller, mut called) = connected();
        drop(caller);
        assert_eq!(called.read(&mut [0; 1]).expect("the end"), 0);
        let mut caller = TcpStream::connect(wires.address(2, 1)).expect("a wire is there");
        assert!(
            matches!(caller.read(&mut [0; 1]), Ok(0) | Err(_)),
            "nobody is there"
        );
    }
}
