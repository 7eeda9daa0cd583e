//! The thread that has running guests looked at, and sleeps while none runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use crate::{engine::Engines, fault::HostError};

/// Ticks without a running guest before the thread sleeps: waking it costs more than a few of them.
const IDLE_TICKS: u32 = 64;

/// The thread that has running guests looked at.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    running: AtomicUsize,
    asleep: AtomicBool,
    stopped: AtomicBool,
}

/// A guest may run, and is looked at, as long as this is kept.
pub(crate) struct Running<'a>(&'a Ticker);

// === impl Ticker ===

impl Ticker {
    pub(crate) fn start(engines: Arc<Engines>, tick: Duration) -> Result<Ticker, HostError> {
        let state = Arc::new(State::default());
        let ticking = Arc::clone(&state);
        let handle = thread::Builder::new()
            .name("guest-ticker".to_owned())
            .spawn(move || ticking.run(&engines, tick))
            .map_err(HostError::Thread)?;
        Ok(Ticker {
            state,
            thread: handle.thread().clone(),
            handle: Some(handle),
        })
    }

    /// Has guests looked at from now on until the value is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        // Sequentially consistent, as in `State::run`: either this sees the sleeper or the sleeper sees this.
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(self)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.running.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl State ===

impl State {
    fn run(&self, engines: &Engines, tick: Duration) {
        let mut idle_ticks = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            if self.running.load(Ordering::SeqCst) > 0 {
                idle_ticks = 0;
                engines.tick();
            } else {
                idle_ticks += 1;
            }
            if idle_ticks < IDLE_TICKS {
                thread::park_timeout(tick);
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            if self.running.load(Ordering::SeqCst) == 0 && !self.stopped.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            idle_ticks = 0;
        }
    }
}
