//! Packing numbers of any width into a run of bits and back: the scalar loops. Eight numbers of `width` bits fill
//! `width` whole bytes, so every eighth number starts on a byte border.

/// Packs `(value - base)` of each value of `BYTES` bytes in `raw` into `width` bits. Every difference must fit;
/// `packed` must hold `ceil(values * width / 8)` bytes. A packed run that is too short is filled and no more.
#[inline(always)]
pub fn pack<const BYTES: usize>(raw: &[u8], base: u64, width: u32, packed: &mut [u8]) {
    match width {
        0 => packed.fill(0),
        1..=8 => pack_by::<BYTES, 8>(raw, base, width, packed),
        9..=16 => pack_by::<BYTES, 4>(raw, base, width, packed),
        17..=32 => pack_by::<BYTES, 2>(raw, base, width, packed),
        _ => pack_by::<BYTES, 1>(raw, base, width, packed),
    }
}

/// `TOGETHER * width <= 64`: that many numbers join a word first, which spares most of the branches.
#[inline(always)]
fn pack_by<const BYTES: usize, const TOGETHER: usize>(raw: &[u8], base: u64, width: u32, packed: &mut [u8]) {
    let mask = mask(width);
    let number = |value: &[u8; BYTES]| widen(value).wrapping_sub(base) & mask;
    let mut bits = BitWriter { pending: 0, filled: 0, out: packed, at: 0 };
    let (groups, rest) = raw.as_chunks::<BYTES>().0.as_chunks::<TOGETHER>();
    for group in groups {
        let mut word = 0;
        let mut shift = 0;
        for value in group {
            word |= number(value) << shift;
            shift += width;
        }
        bits.push(word, shift);
    }
    for value in rest {
        bits.push(number(value), width);
    }
    bits.finish();
}

struct BitWriter<'a> {
    pending: u64,
    filled: u32,
    out: &'a mut [u8],
    at: usize,
}

impl BitWriter<'_> {
    /// `count` is 1 to 64 and `word` has no bits above.
    #[inline(always)]
    fn push(&mut self, word: u64, count: u32) {
        let joined = self.pending | word << self.filled;
        let filled = self.filled + count;
        if filled < 64 {
            (self.pending, self.filled) = (joined, filled);
            return;
        }
        if let Some(out) = self.out.get_mut(self.at..self.at + 8) {
            out.copy_from_slice(&joined.to_le_bytes());
            self.at += 8;
        } else {
            self.put_bytes(joined, 64);
        }
        self.pending = if self.filled == 0 { 0 } else { word >> (64 - self.filled) };
        self.filled = filled - 64;
    }

    fn put_bytes(&mut self, word: u64, bits: u32) {
        let rest = self.out.get_mut(self.at..).unwrap_or_default();
        let count = (bits.div_ceil(8) as usize).min(rest.len());
        rest.iter_mut().zip(word.to_le_bytes()).take(count).for_each(|(out, byte)| *out = byte);
        self.at += count;
    }

    fn finish(mut self) {
        self.put_bytes(self.pending, self.filled);
    }
}

/// The inverse: each value of `raw` becomes `base +` its number. Numbers past the end of `packed` read as 0.
#[inline(always)]
pub fn unpack<const BYTES: usize>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) {
    match width {
        0 => raw.as_chunks_mut::<BYTES>().0.fill(narrow(base)),
        1..=57 => unpack_by::<BYTES, false>(packed, base, width, raw),
        _ => unpack_by::<BYTES, true>(packed, base, width, raw),
    }
}

/// A number of up to 57 bits lies within eight bytes wherever it starts; a wider one may touch nine.
#[inline(always)]
fn unpack_by<const BYTES: usize, const WIDE: bool>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) {
    let mask = mask(width);
    let group_bytes = width as usize;
    let (groups, rest) = raw.as_chunks_mut::<BYTES>().0.as_chunks_mut::<8>();
    let mut start = 0;
    let mut tail = packed;
    for group in groups {
        tail = packed.get(start..).unwrap_or_default();
        if let Some(window) = tail.get(..group_bytes + 16) {
            for (index, out) in (0u32..).zip(group) {
                let bit = index * width;
                let at = (bit / 8) as usize;
                let number = if WIDE {
                    long_word(&window[at..]) >> (bit % 8)
                } else {
                    u128::from(word(&window[at..]) >> (bit % 8))
                };
                *out = narrow(base.wrapping_add(low_half(number) & mask));
            }
        } else {
            unpack_slowly(tail, base, width, group);
        }
        start += group_bytes;
        tail = packed.get(start..).unwrap_or_default();
    }
    unpack_slowly(tail, base, width, rest);
}

/// Near the end, where a whole window would reach past it.
fn unpack_slowly<const BYTES: usize>(packed: &[u8], base: u64, width: u32, values: &mut [[u8; BYTES]]) {
    for (index, out) in (0u32..).zip(values) {
        let bit = index * width;
        let mut window = [0; 16];
        let bytes = packed.get((bit / 8) as usize..).unwrap_or_default();
        window.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        *out = narrow(base.wrapping_add(low_half(u128::from_le_bytes(window) >> (bit % 8)) & mask(width)));
    }
}

#[inline(always)]
pub fn mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[inline(always)]
fn long_word(bytes: &[u8]) -> u128 {
    bytes.first_chunk().map_or(0, |word| u128::from_le_bytes(*word))
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the upper half is what a window holds beyond the number")]
fn low_half(window: u128) -> u64 {
    window as u64
}

#[inline(always)]
fn widen<const BYTES: usize>(value: &[u8; BYTES]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(bytes)
}

#[inline(always)]
fn narrow<const BYTES: usize>(value: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
    bytes
}
