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
    /// Those for which there was no room: of nodes that very many link to.
    others: Vec<(usize, u32)>,
}

impl Claims {
    /// For about `count` claims that spread evenly.
    pub fn with_room(bucket_count: usize, count: usize) -> Self {
        let room = (count / bucket_count.max(1)).next_multiple_of(16);
        // What is not written takes no memory.
        let places = vec![0; bucket_count * room];
        sys::prefer_huge_pages(&places);
        Self { places, room, counts: vec![0; bucket_count], others: Vec::new() }
    }

    #[inline(always)]
    pub fn push(&mut self, bucket: usize, claim: u32) {
        let Some(count) = self.counts.get_mut(bucket) else { return };
        match self.places.get_mut(bucket * self.room + *count) {
            Some(place) if *count < self.room => {
                *place = claim;
                *count += 1;
            }
            _ => self.others.push((bucket, claim)),
        }
    }

    /// Those of a bucket, in two pieces.
    pub fn of(&self, bucket: usize) -> (&[u32], Vec<u32>) {
        let start = bucket * self.room;
        let count = self.counts.get(bucket).copied().unwrap_or(0);
        let others = self.others.iter().filter(|(other, _)| *other == bucket).map(|(_, claim)| *claim);
        (self.places.get(start..start + count).unwrap_or_default(), others.collect())
    }

    pub fn retain(&mut self, stays: impl Fn(u32) -> bool) {
        for (bucket, count) in self.counts.iter_mut().enumerate() {
            let places = &mut self.places[bucket * self.room..][..*count];
            let mut kept = 0;
            for at in 0..places.len() {
                let claim = places[at];
                places[kept] = claim;
                kept += usize::from(stays(claim));
            }
            *count = kept;
        }
        self.others.retain(|(_, claim)| stays(*claim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_come_back_by_bucket_with_and_without_room() {
        let mut claims = Claims::with_room(3, 48);
        for claim in 0..100 {
            claims.push(usize::from(claim % 10 == 0), claim);
        }
        claims.push(3, 7);
        let all = |claims: &Claims, bucket| {
            let (placed, others) = claims.of(bucket);
            placed.iter().copied().chain(others).collect::<Vec<_>>()
        };
        let tens =
            |is_ten: bool, limit: u32| (0..limit).filter(|claim| (claim % 10 == 0) == is_ten).collect::<Vec<_>>();
        assert_eq!((all(&claims, 0), all(&claims, 1)), (tens(false, 100), tens(true, 100)));
        assert_eq!((all(&claims, 2), all(&claims, 3)), (vec![], vec![]));
        claims.retain(|claim| claim < 50);
        assert_eq!((all(&claims, 0), all(&claims, 1)), (tens(false, 50), tens(true, 50)));
    }
}
