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

/// Jobs on their way. `F` takes what a job gave; where that job could not finish, it gives the chunk that is missing and
/// the job that goes on with it.
pub struct Feeder<J, F> {
    flight: VecDeque<Ticket>,
    leaders: Vec<Leader<J>>,
    ready: VecDeque<LargeChunk>,
    memory_bytes: u64,
    taken: F,
    /// Bytes of the jobs that have finished.
    pub done: u64,
}

#[derive(Clone, Copy)]
struct Ticket {
    number: u64,
    bytes: usize,
}

struct Leader<J> {
    chunk: LargeChunk,
    ticket: Ticket,
    held: Vec<(usize, J)>,
}

impl<J, F> Feeder<J, F> {
    pub fn new(memory_bytes: u64, taken: F) -> Self {
        Self { flight: VecDeque::new(), leaders: Vec::new(), ready: VecDeque::new(), memory_bytes, taken, done: 0 }
    }

    /// Hands a job of so many bytes over, or keeps it until the large chunk that it takes rows of is decoded. A job with a
    /// large chunk finishes; one without may come back with one.
    ///
    /// # Errors
    /// Of any earlier job.
    pub fn push<R>(&mut self, pool: &mut Pool<J, R>, large: Option<LargeChunk>, (bytes, job): (usize, J)) -> Result<()>
    where
        F: FnMut(R) -> Option<(LargeChunk, J)>,
    {
        self.release_done(pool)?;
        match large {
            None => self.flight.push_back(Ticket { number: pool.submit(job), bytes }),
            Some(chunk) if self.ready.contains(&chunk) => {
                self.flight.push_back(Ticket { number: pool.submit(job), bytes });
            }
            Some(chunk) => self.wait_for(pool, chunk, bytes, job)?,
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
    pub fn finish<R>(&mut self, pool: &mut Pool<J, R>, mut beat: impl FnMut(u64) -> Result<()>) -> Result<()>
    where
        F: FnMut(R) -> Option<(LargeChunk, J)>,
    {
        loop {
            self.release_done(pool)?;
            if !self.flight.is_empty() {
                self.take_one(pool)?;
            } else if !self.leaders.is_empty() {
                self.release(pool, 0)?;
            } else {
                return Ok(());
            }
            beat(self.done)?;
        }
    }

    /// The job leads, or is held by the leader of its chunk.
    fn wait_for<R>(&mut self, pool: &mut Pool<J, R>, chunk: LargeChunk, bytes: usize, job: J) -> Result<()>
    where
        F: FnMut(R) -> Option<(LargeChunk, J)>,
    {
        if let Some(leader) = self.leaders.iter_mut().find(|leader| leader.chunk == chunk) {
            leader.held.push((bytes, job));
            return Ok(());
        }
        while self.leaders.len() >= LEADERS_MIN && !self.has_room(chunk) {
            self.release(pool, 0)?;
        }
        let ticket = Ticket { number: pool.submit(job), bytes };
        self.leaders.push(Leader { chunk, ticket, held: Vec::new() });
        Ok(())
    }

    fn has_room(&self, (.., chunk_bytes): LargeChunk) -> bool {
        let leading = self.leaders.iter().map(|leader| leader.chunk.2).fold(chunk_bytes, u64::saturating_add);
        leading.saturating_mul(MEMORY_FACTOR) <= self.memory_bytes
    }

    fn take_one<R>(&mut self, pool: &mut Pool<J, R>) -> Result<()>
    where
        F: FnMut(R) -> Option<(LargeChunk, J)>,
    {
        let Some(ticket) = self.flight.pop_front() else { return Ok(()) };
        match (self.taken)(pool.take(ticket.number)?) {
            None => self.done += ticket.bytes as u64,
            Some((chunk, job)) if self.ready.contains(&chunk) => {
                self.flight.push_back(Ticket { number: pool.submit_urgent(job), bytes: ticket.bytes });
            }
            Some((chunk, job)) => self.wait_for(pool, chunk, ticket.bytes, job)?,
        }
        Ok(())
    }

    fn release_done<R>(&mut self, pool: &mut Pool<J, R>) -> Result<()>
    where
        F: FnMut(R) -> Option<(LargeChunk, J)>,
    {
        while let Some(number) = self.leaders.iter().position(|leader| pool.is_done(leader.ticket.number)) {
            self.release(pool, number)?;
        }
        Ok(())
    }

    /// Waits for a leader and lets those go that wait for it.
    fn release<R>(&mut self, pool: &mut Pool<J, R>, number: usize) -> Result<()>
    where
        F: FnMut(R) -> Option<(LargeChunk, J)>,
    {
        let Leader { chunk, ticket, held } = self.leaders.remove(number);
        (self.taken)(pool.take(ticket.number)?);
        self.done += ticket.bytes as u64;
        self.ready.push_back(chunk);
        if self.ready.len() > READY_MAX {
            self.ready.pop_front();
        }
        // Before what was pushed later: the decoded chunk is kept for a few others only.
        let urgent = held.into_iter().map(|(bytes, job)| Ticket { number: pool.submit_urgent(job), bytes });
        self.flight.extend(urgent);
        Ok(())
    }
}
