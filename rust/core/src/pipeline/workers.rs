//! A bounded pool: jobs go in with a ticket, results come out by ticket. Urgent jobs overtake.

use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// The caller's side of the pool. The caller bounds what is in flight by taking before it submits more.
pub struct Pool<J, R> {
    ordinary: Sender<(u64, J)>,
    urgent: Sender<(u64, J)>,
    wakeups: Sender<()>,
    results: Receiver<(u64, Result<R>)>,
    waiting: HashMap<u64, Result<R>>,
    next_ticket: u64,
}

impl<J, R> Pool<J, R> {
    pub fn submit(&mut self, job: J) -> u64 {
        self.send(job, false)
    }

    /// Runs before every ordinary job that has not started.
    pub fn submit_urgent(&mut self, job: J) -> u64 {
        self.send(job, true)
    }

    fn send(&mut self, job: J, urgent: bool) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let queue = if urgent { &self.urgent } else { &self.ordinary };
        // Workers live as long as this pool; if they could not, `take` says so.
        let _ = queue.send((ticket, job));
        let _ = self.wakeups.send(());
        ticket
    }

    /// Whether the result of `ticket` is there, and not taken yet.
    pub fn is_done(&mut self, ticket: u64) -> bool {
        while let Ok((other, result)) = self.results.try_recv() {
            self.waiting.insert(other, result);
        }
        self.waiting.contains_key(&ticket)
    }

    /// Waits for the result of `ticket`.
    ///
    /// # Errors
    /// The job's own; `Io` when the workers are gone.
    pub fn take(&mut self, ticket: u64) -> Result<R> {
        loop {
            if let Some(result) = self.waiting.remove(&ticket) {
                return result;
            }
            match self.results.recv() {
                Ok((other, result)) => {
                    self.waiting.insert(other, result);
                }
                Err(_) => return Err(Error::new(ErrorKind::Io, "worker threads", "ended early; please report this")),
            }
        }
    }
}

/// Number of threads to use: `threads`, or as many as the machine has when it is 0.
pub fn thread_count(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        some => some.min(256),
    }
}

/// Runs `drive` with `threads` workers. When `drive` returns, jobs not yet begun are dropped.
///
/// # Errors
/// Those of `drive`; `Io` when the system grants no thread at all.
pub fn with_pool<J, R, S, T>(
    threads: usize,
    new_state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, J) -> Result<R> + Sync,
    drive: impl FnOnce(&mut Pool<J, R>) -> Result<T>,
) -> Result<T>
where
    J: Send,
    R: Send,
{
    let (ordinary, ordinary_jobs) = unbounded::<(u64, J)>();
    let (urgent, urgent_jobs) = unbounded::<(u64, J)>();
    let (wakeups, woken) = unbounded::<()>();
    let (finished, results) = unbounded();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..thread_count(threads) {
            let (ordinary_jobs, urgent_jobs, woken) = (ordinary_jobs.clone(), urgent_jobs.clone(), woken.clone());
            let finished = finished.clone();
            let (new_state, work, stop) = (&new_state, &work, &stop);
            let spawned = std::thread::Builder::new().spawn_scoped(scope, move || {
                let mut state = new_state();
                // One wake-up a job; it lets a worker choose the urgent queue first.
                while woken.recv().is_ok() && !stop.load(Ordering::Relaxed) {
                    let Ok((ticket, job)) = urgent_jobs.try_recv().or_else(|_| ordinary_jobs.try_recv()) else {
                        continue;
                    };
                    let result = catch_unwind(AssertUnwindSafe(|| work(&mut state, job)));
                    let result = result.unwrap_or_else(|_| {
                        // What the job left half done must not reach the next one.
                        state = new_state();
                        Err(Error::new(ErrorKind::Io, "worker thread", "failed inside vark; please report this"))
                    });
                    if finished.send((ticket, result)).is_err() {
                        break;
                    }
                }
            });
            match spawned {
                // Fewer do the same work.
                Err(_) if number > 0 => break,
                Err(error) => return Err(Error::io("worker threads", &error)),
                Ok(_) => {}
            }
        }
        drop(finished);
        let mut pool = Pool { ordinary, urgent, wakeups, results, waiting: HashMap::new(), next_ticket: 0 };
        let outcome = drive(&mut pool);
        stop.store(true, Ordering::Relaxed);
        drop(pool);
        outcome
    })
}
