//! Pure loops over slices. Nothing here allocates, fails or knows a stream. Where slices disagree in length a loop
//! stops at the shortest. The widest instruction set that the machine has is chosen here and nowhere else.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bits;
mod halves;
mod links;
mod portable;
mod prefix;
mod residual;
mod scales;
#[cfg(test)]
mod tests;

pub use halves::{Narrow, Rule};
pub use links::PAD;
pub use prefix::{CODE_BITS_MAX, PrefixCode};
pub use residual::Numbers;

/// Smallest and largest of a run of integers, as bit patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extremes {
    pub low: u64,
    pub high: u64,
    pub signed_low: u64,
    pub signed_high: u64,
}

/// An instruction set that this machine was found to have. Only `detect` and `available` make one that is not
/// `Portable`, so holding it is the proof that its kernels may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Runs the AVX2 form of a kernel where there is AVX2, else the portable one.
macro_rules! dispatch {
    ($machine:expr, $kernel:ident($($argument:expr),*)) => {
        match $machine.0 {
            // SAFETY: `available` makes these two only after it found AVX2, BMI1, BMI2 and POPCNT.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 | Set::Avx512 => unsafe { avx2::$kernel($($argument),*) },
            Set::Portable => portable::$kernel($($argument),*),
        }
    };
}

impl Machine {
    pub const PORTABLE: Self = Self(Set::Portable);

    /// The widest set of this machine. Cheap: the standard library remembers what it found.
    #[inline]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::PORTABLE)
    }

    /// Every set of this machine, narrowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let sets = [
            Some(Set::Portable),
            #[cfg(target_arch = "x86_64")]
            // Every machine with AVX2 has the bit sets too.
            (is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt"))
            .then_some(Set::Avx2),
            #[cfg(target_arch = "x86_64")]
            (is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vbmi"))
            .then_some(Set::Avx512),
        ];
        sets.into_iter().flatten().map(Self)
    }

    /// Exponent bytes of the f32 values in `raw` (spec, `codecs/float32.md`).
    pub fn split_exponents(self, raw: &[u8], exponents: &mut [u8]) {
        dispatch!(self, split_exponents(raw, exponents));
    }

    /// The three low bytes of each rotated value.
    pub fn split_lows(self, raw: &[u8], lows: &mut [u8]) {
        dispatch!(self, split_lows(raw, lows));
    }

    /// The values again.
    pub fn merge(self, exponents: &[u8], lows: &[u8], raw: &mut [u8]) {
        dispatch!(self, merge(exponents, lows, raw));
    }

    /// Upper bytes of the rotated 2-byte values in `raw` (spec, `codecs/float16.md`).
    pub fn split_uppers(self, raw: &[u8], uppers: &mut [u8]) {
        dispatch!(self, split_uppers(raw, uppers));
    }

    /// Their lower bytes.
    pub fn split_lowers(self, raw: &[u8], lowers: &mut [u8]) {
        dispatch!(self, split_lowers(raw, lowers));
    }

    /// The values again.
    pub fn merge_halves(self, uppers: &[u8], lowers: &[u8], raw: &mut [u8]) {
        dispatch!(self, merge_halves(uppers, lowers, raw));
    }

    /// The f32 values of a row from its narrow ones (spec, `codecs/narrow.md`).
    pub fn widen(self, narrow: Narrow, rule: Rule, scale: f32, values: &[u8], row: &mut [u8]) {
        dispatch!(self, widen(narrow, rule, scale, values, row));
    }

    /// The narrow values that are those of `row` without a scale; false when there are none.
    pub fn narrow(self, narrow: Narrow, row: &[u8], values: &mut [u8]) -> bool {
        dispatch!(self, narrow(narrow, row, values))
    }

    /// Smallest and largest of f32 values; NaNs do not count.
    pub fn float_range(self, raw: &[u8]) -> (f32, f32) {
        dispatch!(self, float_range(raw))
    }

    /// The scale of a row of values with a fraction of `fraction_bits` (7 or 10), and those values as f32.
    pub fn find_scale(self, row: &[u8], fraction_bits: u32, rule: Rule, values: &mut [u8]) -> Option<f32> {
        dispatch!(self, find_scale(row, fraction_bits, rule, values))
    }

    /// Whether such a scale is likely; quick to say no.
    pub fn looks_scaled(self, row: &[u8], fraction_bits: u32) -> bool {
        dispatch!(self, looks_scaled(row, fraction_bits))
    }

    /// Entries of `sorted` in another order: `out[i]` is the one of rank `ranks[i]` among those left; when the ranks
    /// end the rest follow as they are. `out` is as long as `sorted`; every rank is below the count of those left.
    #[inline]
    pub fn reorder(self, sorted: &[u32], ranks: &[u8], out: &mut [u32]) {
        dispatch!(self, reorder(sorted, ranks, out));
    }

    /// Of each of `below.len()` ids (below 2^31, distinct): how many are smaller in all, and among those after it.
    /// `list` holds them in order; what is left of its last group is `PAD`.
    #[inline]
    pub fn rank(self, list: &[[u32; 8]], below: &mut [u8], left: &mut [u8]) {
        match self.0 {
            // SAFETY: as in `unpack_as`, and `available` found AVX2 and POPCNT before.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::rank(list, below, left) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as in `dispatch`.
            Set::Avx2 => unsafe { avx2::rank(list, below, left) },
            Set::Portable => portable::rank(list, below, left),
        }
    }

    /// A claim is `row << id_bits | place`: the node `base + place` links to that row of `lists` (`slots` ids each).
    /// Where the row links back, the bit of that slot is set in its `slots.div_ceil(64)` words of `marks`.
    pub fn mark(self, claims: &[u32], id_bits: u32, base: u32, lists: &[u32], slots: usize, marks: &mut [u64]) {
        match self.0 {
            // SAFETY: as in `unpack_as`, and `available` found AVX2 before.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::mark(claims, id_bits, base, lists, slots, marks) },
            // SAFETY: as in `dispatch`.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::mark(claims, id_bits, base, lists, slots, marks) },
            Set::Portable => portable::mark(claims, id_bits, base, lists, slots, marks),
        }
    }

    /// Symbols of the values of `raw` against those of `base` (spec, `codecs/residual.md`); their low bits go to `lows`.
    /// Returns how many bytes of it they fill; `None` when it is too short.
    pub fn split_residual(
        self,
        numbers: Numbers,
        value_bytes: usize,
        turned: bool,
        (base, raw): (&[u8], &[u8]),
        symbols: &mut [u8],
        lows: &mut [u8],
    ) -> Option<usize> {
        dispatch!(self, split_residual(numbers, value_bytes, turned, (base, raw), symbols, lows))
    }

    /// The values again. Returns how many bits of `lows` were taken (past its end they read as 0); `None` when a symbol
    /// stands for no number of this width.
    pub fn join_residual(
        self,
        numbers: Numbers,
        value_bytes: usize,
        turned: bool,
        base: &[u8],
        (symbols, lows): (&[u8], &[u8]),
        raw: &mut [u8],
    ) -> Option<usize> {
        dispatch!(self, join_residual(numbers, value_bytes, turned, base, (symbols, lows), raw))
    }

    /// Extremes of little-endian integers of 1, 2, 4 or 8 bytes.
    pub fn extremes(self, value_bytes: usize, raw: &[u8]) -> Extremes {
        dispatch!(self, extremes(value_bytes, raw))
    }

    /// True when each integer is the one before plus `step`, wrapping.
    pub fn steps_are(self, value_bytes: usize, raw: &[u8], step: u64) -> bool {
        dispatch!(self, steps_are(value_bytes, raw, step))
    }

    /// `values - base` as a run of `width`-bit numbers, the first in the lowest bits (spec, `codecs/bitpack.md`).
    /// Every difference must fit.
    pub fn pack(self, value_bytes: usize, raw: &[u8], base: u64, width: u32, packed: &mut [u8]) {
        match value_bytes {
            1 => bits::pack::<1>(raw, base, width, packed),
            2 => bits::pack::<2>(raw, base, width, packed),
            4 => bits::pack::<4>(raw, base, width, packed),
            _ => bits::pack::<8>(raw, base, width, packed),
        }
    }

    /// The values again. Numbers past the end of `packed` read as 0.
    pub fn unpack(self, value_bytes: usize, packed: &[u8], base: u64, width: u32, raw: &mut [u8]) {
        match value_bytes {
            1 => self.unpack_as::<1>(packed, base, width, raw),
            2 => self.unpack_as::<2>(packed, base, width, raw),
            4 => self.unpack_as::<4>(packed, base, width, raw),
            _ => self.unpack_as::<8>(packed, base, width, raw),
        }
    }

    /// Adds to `counts` how often each value is in `bytes`, fewer than 2^32 of them.
    pub fn count_bytes(self, bytes: &[u8], counts: &mut [u32; 256]) {
        match self.0 {
            // SAFETY: as in `unpack_as`.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::count_bytes(bytes, counts) },
            _ => prefix::count_bytes(bytes, counts),
        }
    }

    /// Writes the codes of `bytes` to the start of `out`, the last first, then a 1. Each must have one, of at most
    /// `CODE_BITS_MAX` bits. Returns how many bytes of `out` they fill; `None` when it has not seven more than that.
    pub fn encode_bytes(self, code: &PrefixCode, bytes: &[u8], out: &mut [u8]) -> Option<usize> {
        match self.0 {
            // SAFETY: as in `unpack_as`.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::encode_bytes(code, bytes, out) },
            // SAFETY: `available` makes this one only after it found BMI2.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::encode_bytes(code, bytes, out) },
            Set::Portable => prefix::encode_bytes(code, bytes, out),
        }
    }

    fn unpack_as<const BYTES: usize>(self, packed: &[u8], base: u64, width: u32, raw: &mut [u8]) {
        match self.0 {
            // SAFETY: `available` makes this one only after it found every feature that the kernel names.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::unpack::<BYTES>(packed, base, width, raw) },
            _ => bits::unpack::<BYTES>(packed, base, width, raw),
        }
    }
}
