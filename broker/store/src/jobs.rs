//! Work that may take long, done one after the other beside the log: cuts, and log files made ahead.

use std::collections::VecDeque;
use std::sync::OnceLock;

use parking_lot::{Condvar, Mutex};

/// A piece of work.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Is told that there is something to do.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// Work that waits its turn. Few are ever queued: one for each group that is being cut, and two for log files.
#[derive(Default)]
pub(crate) struct Jobs {
    queue: Mutex<Queue>,
    changed: Condvar,
    caller: OnceLock<Wake>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

// === impl Jobs ===

impl Jobs {
    /// Queues a job; returns it when it is too late, because nobody would do it any more.
    pub(crate) fn push(&self, job: Job) -> Result<(), Job> {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return Err(job);
        }
        queue.waiting.push_back(job);
        self.changed.notify_one();
        if let Some(wake) = self.caller.get() {
            wake();
        }
        Ok(())
    }

    /// Has the caller told of each job that is queued from now on. The first one stays.
    pub(crate) fn tell(&self, wake: Wake) {
        // Whoever comes second is told nothing.
        let _ = self.caller.set(wake);
    }

    /// Does the next job; returns whether there was one.
    pub(crate) fn step(&self) -> bool {
        let job = self.queue.lock().waiting.pop_front();
        let Some(job) = job else {
            return false;
        };
        job();
        true
    }

    /// Does jobs until closed and none is left.
    pub(crate) fn run(&self) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                while queue.waiting.is_empty() && !queue.is_closed {
                    self.changed.wait(&mut queue);
                }
                queue.waiting.pop_front()
            };
            match job {
                Some(job) => job(),
                None => return,
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().is_closed
    }

    /// Takes nothing more. What is queued is still done, but a cut then only says that it was not.
    pub(crate) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.changed.notify_all();
    }
}
