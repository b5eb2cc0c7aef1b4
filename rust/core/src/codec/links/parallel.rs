//! The rows of one partition shared out among threads: at the end of a backup it is all that is left to do.

use std::sync::{Mutex, PoisonError};

/// Runs `work` on each of `items` and returns the results in order. Each item but one gets a thread of its own; when the
/// system grants fewer, those there are do the work.
pub(super) fn in_parallel<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = items.len();
    by_threads(items, threads, work)
}

/// Runs `work` on `0..count` in shares, several a thread: some take longer than others.
pub(crate) fn by_shares<R: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(std::ops::Range<usize>) -> R + Sync,
) -> Vec<R> {
    let shares = if threads > 1 { SHARES_A_THREAD * threads } else { 1 };
    let share = count.div_ceil(shares).max(1);
    let items = (0..count).step_by(share).map(|first| first..(first + share).min(count)).collect();
    by_threads(items, threads, work)
}

const SHARES_A_THREAD: usize = 4;

/// Runs `work` on each of `items`, which so many threads take one after another; the results come in order.
pub(super) fn by_threads<T: Send, R: Send>(items: Vec<T>, threads: usize, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let helpers = items.len().min(threads).saturating_sub(1);
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut results = Vec::new();
        while let Some((number, item)) = next() {
            results.push((number, work(item)));
        }
        results
    };
    let run = &run;
    let mut results = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, run).ok();
        let threads: Vec<_> = (0..helpers).map_while(spawn).collect();
        let mut results = run();
        for thread in threads {
            results.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_of_them_in_order() {
        for (count, threads) in [(0, 1), (1, 4), (7, 2), (1000, 1), (1000, 3)] {
            let shares = by_shares(count, threads, |share| share);
            assert!(shares.into_iter().flatten().eq(0..count));
        }
    }

    #[test]
    fn results_keep_the_order_of_their_items() {
        for count in [0, 1, 2, 7] {
            let doubled = in_parallel((0..count).collect(), |number: u32| 2 * number);
            assert!(doubled.into_iter().eq((0..count).map(|number| 2 * number)));
        }
    }
}
