//! Rows of a partition that are worked on together, while their lists are in cache. What one row says of another waits
//! with the other's bucket as a *claim*: `row in bucket << id_bits | number of the node that says it`.

use super::Rows;
use crate::sys;

/// As many as a second-level cache holds of rows of 32 slots, with room for the claims that come along.
const BUCKET_ROWS: usize = 1024;

/// A power of two, and few enough for a row of it and a node to fit a claim.
pub(super) fn bucket_rows(rows: &Rows) -> usize {
    BUCKET_ROWS.min(1 << (u32::BITS - id_bits(rows)))
}

/// Bits of the number of a row.
pub(super) fn id_bits(rows: &Rows) -> u32 {
    // Below 2^31 rows.
    usize::BITS - rows.count.leading_zeros()
}

/// What a part of the rows says of others, by the bucket of these.
#[derive(Default)]
pub(super) struct Claims {
    /// `room` for each bucket, filled from its front: one piece of memory, in large pages.
    places: Vec<u32>,
    room: usize,
    counts: Vec<usize>,
    others: Others,
}

/// Those for which there was no room: of nodes that very many link to.
#[derive(Default)]
struct Others {
    /// Bucket and claim, as they come.
    found: Vec<(u32, u32)>,
    /// The claims, bucket after bucket, and where each bucket's end; empty where there are none.
    claims: Vec<u32>,
    ends: Vec<usize>,
}

impl Claims {
    /// For about `count` claims that spread evenly.
    pub fn with_room(bucket_count: usize, count: usize) -> Self {
        let room = (count / bucket_count.max(1)).next_multiple_of(16);
        // What is not written takes no memory.
        let places = vec![0; bucket_count * room];
        sys::prefer_huge_pages(&places);
        Self { places, room, counts: vec![0; bucket_count], others: Others::default() }
    }

    /// `sort` has to follow the last one.
    #[inline(always)]
    pub fn push(&mut self, bucket: u32, claim: u32) {
        let number = bucket as usize;
        let Some(count) = self.counts.get_mut(number) else { return };
        match self.places.get_mut(number * self.room + *count) {
            Some(place) if *count < self.room => {
                *place = claim;
                *count += 1;
            }
            _ => self.others.found.push((bucket, claim)),
        }
    }

    /// Makes ready for `of`, which is asked once for each bucket: it must not look through all others each time.
    pub fn sort(&mut self) {
        self.others.sort(self.counts.len());
    }

    /// Those of a bucket, in two pieces.
    pub fn of(&self, bucket: usize) -> [&[u32]; 2] {
        let start = bucket * self.room;
        let count = self.counts.get(bucket).copied().unwrap_or(0);
        [self.places.get(start..start + count).unwrap_or_default(), self.others.of(bucket)]
    }

    pub fn retain(&mut self, stays: impl Fn(u32) -> bool) {
        for (bucket, count) in self.counts.iter_mut().enumerate() {
            *count = keep(&mut self.places[bucket * self.room..][..*count], &stays);
        }
        self.others.retain(&stays);
    }
}

impl Others {
    fn sort(&mut self, bucket_count: usize) {
        let found = std::mem::take(&mut self.found);
        if found.is_empty() {
            return;
        }
        let mut starts = vec![0; bucket_count + 1];
        found.iter().for_each(|(bucket, _)| starts[*bucket as usize + 1] += 1);
        for bucket in 0..bucket_count {
            starts[bucket + 1] += starts[bucket];
        }
        self.claims = vec![0; found.len()];
        for (bucket, claim) in found {
            let place = &mut starts[bucket as usize];
            self.claims[*place] = claim;
            *place += 1;
        }
        // Each has come to its end.
        starts.truncate(bucket_count);
        self.ends = starts;
    }

    fn of(&self, bucket: usize) -> &[u32] {
        let Some(end) = self.ends.get(bucket) else { return &[] };
        let start = bucket.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.claims[start..*end]
    }

    fn retain(&mut self, stays: impl Fn(u32) -> bool) {
        let (mut start, mut kept) = (0, 0);
        for end in &mut self.ends {
            let count = keep(&mut self.claims[start..*end], &stays);
            self.claims.copy_within(start..start + count, kept);
            (start, kept) = (*end, kept + count);
            *end = kept;
        }
        self.claims.truncate(kept);
    }
}

/// Moves those that stay to the front; says how many.
fn keep(claims: &mut [u32], stays: impl Fn(u32) -> bool) -> usize {
    let mut kept = 0;
    for at in 0..claims.len() {
        let claim = claims[at];
        claims[kept] = claim;
        kept += usize::from(stays(claim));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_come_back_by_bucket_with_and_without_room() {
        let mut claims = Claims::with_room(4, 64);
        for claim in 0..100 {
            claims.push(if claim % 10 == 0 { 1 } else { 3 * (claim & 1) }, claim);
        }
        claims.push(4, 7);
        claims.sort();
        let all = |claims: &Claims, bucket| claims.of(bucket).concat();
        let expected = |bucket: u32, limit| {
            let of = |claim| if claim % 10 == 0 { 1 } else { 3 * (claim & 1) };
            (0..limit).filter(|claim| of(*claim) == bucket).collect::<Vec<u32>>()
        };
        assert!((0..5).all(|bucket| all(&claims, bucket as usize) == expected(bucket, 100)));
        claims.retain(|claim| claim < 75);
        assert!((0..5).all(|bucket| all(&claims, bucket as usize) == expected(bucket, 75)));
        assert_eq!(claims.of(0).map(<[u32]>::len), [16, 14]);
    }

    #[test]
    fn claims_of_few_that_all_point_at_come_back_as_fast_as_others() {
        // 4,096 buckets, a million claims: looked through for each bucket they would be four thousand million.
        let mut claims = Claims::with_room(4_096, 0);
        (0..1_000_000).for_each(|claim| claims.push(claim % 2, claim));
        claims.sort();
        let started = std::time::Instant::now();
        let found: usize = (0..4_096).map(|bucket| claims.of(bucket).concat().len()).sum();
        assert_eq!(found, 1_000_000);
        assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
    }
}
