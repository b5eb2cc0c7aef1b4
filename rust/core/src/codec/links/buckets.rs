//! Rows of a partition that are worked on together, while their lists are in cache. What one row says of another waits
//! with the other's bucket as a *claim*: `row in bucket << id_bits | number of the node that says it`.

use super::Rows;

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
