//! Batches on their way to the workers. Where many batches take rows of one large chunk (a partition of links), the first
//! of them decodes it; the others are held back until it has, so that no worker waits for another while there are batches
//! that need nothing of the kind.

use super::workers::Pool;
use crate::error::Result;
use std::collections::VecDeque;

/// A large chunk: stream, number, bytes.
pub type LargeChunk = (usize, u64, u64);

/// So many large chunks are decoded at once in any case, more where memory allows: each takes some three times its size.
const LEADERS_MIN: usize = 2;
const MEMORY_FACTOR: u64 = 3;
/// Batches handed over and not taken back. Their memory is the workers' or the caller's; this bounds the records.
const IN_FLIGHT_MAX: usize = 4_096;
/// Large chunks that need not be waited for any more.
const READY_MAX: usize = 8;

/// Jobs give the bytes that they made.
pub struct Feeder<J> {
    flight: VecDeque<u64>,
    leaders: Vec<Leader<J>>,
    ready: VecDeque<LargeChunk>,
    memory_bytes: u64,
    pub done: u64,
}

struct Leader<J> {
    chunk: LargeChunk,
    ticket: u64,
    held: Vec<J>,
}

impl<J> Feeder<J> {
    pub fn new(memory_bytes: u64) -> Self {
        Self { flight: VecDeque::new(), leaders: Vec::new(), ready: VecDeque::new(), memory_bytes, done: 0 }
    }

    /// Hands a job over, or keeps it until the large chunk that it takes rows of is decoded.
    ///
    /// # Errors
    /// Of any earlier job.
    pub fn push(&mut self, pool: &mut Pool<J, u64>, large: Option<LargeChunk>, job: J) -> Result<()> {
        while let Some(number) = self.leaders.iter().position(|leader| pool.is_done(leader.ticket)) {
            self.release(pool, number)?;
        }
        match large.filter(|chunk| !self.ready.contains(chunk)) {
            None => self.flight.push_back(pool.submit(job)),
            Some(chunk) => match self.leaders.iter_mut().find(|leader| leader.chunk == chunk) {
                Some(leader) => leader.held.push(job),
                None => {
                    while self.leaders.len() >= LEADERS_MIN && !self.has_room(chunk) {
                        self.release(pool, 0)?;
                    }
                    self.leaders.push(Leader { chunk, ticket: pool.submit(job), held: Vec::new() });
                }
            },
        }
        while self.flight.len() > IN_FLIGHT_MAX {
            self.take_one(pool)?;
        }
        Ok(())
    }

    /// Waits for all that was pushed.
    ///
    /// # Errors
    /// Of any job.
    pub fn finish(&mut self, pool: &mut Pool<J, u64>, mut beat: impl FnMut(u64) -> Result<()>) -> Result<()> {
        while !self.leaders.is_empty() {
            self.release(pool, 0)?;
            beat(self.done)?;
        }
        while !self.flight.is_empty() {
            self.take_one(pool)?;
            beat(self.done)?;
        }
        Ok(())
    }

    fn has_room(&self, (.., chunk_bytes): LargeChunk) -> bool {
        let leading = self.leaders.iter().map(|leader| leader.chunk.2).fold(chunk_bytes, u64::saturating_add);
        leading.saturating_mul(MEMORY_FACTOR) <= self.memory_bytes
    }

    fn take_one(&mut self, pool: &mut Pool<J, u64>) -> Result<()> {
        if let Some(ticket) = self.flight.pop_front() {
            self.done += pool.take(ticket)?;
        }
        Ok(())
    }

    /// Waits for a leader and lets those go that wait for it.
    fn release(&mut self, pool: &mut Pool<J, u64>, number: usize) -> Result<()> {
        let Leader { chunk, ticket, held } = self.leaders.remove(number);
        self.done += pool.take(ticket)?;
        self.ready.push_back(chunk);
        if self.ready.len() > READY_MAX {
            self.ready.pop_front();
        }
        // Before what was pushed later: the decoded chunk is kept for a few others only.
        self.flight.extend(held.into_iter().map(|job| pool.submit_urgent(job)));
        Ok(())
    }
}
