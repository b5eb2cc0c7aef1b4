//! Values against base values (spec, `codecs/residual.md`): the difference of ordered bits as a symbol of one byte, which
//! says how long it is and how it begins, and the low bits that follow from there.

/// Values worked on at a time, so that what passes between the loops stays in the nearest cache.
const BLOCK_VALUES: usize = 256;

/// What the bits of a type mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    Integers,
    /// Sign and magnitude; the exponent is the bits from `exponent_shift` on, without the sign.
    Floats {
        exponent_shift: u32,
    },
}

/// Bits of a number behind its leading one that its symbol holds: as many as 256 symbols allow.
const fn fraction_bits(value_bytes: usize) -> u32 {
    match value_bytes {
        1 => 7,
        2 => 4,
        4 => 3,
        _ => 2,
    }
}

/// Symbols of `raw`; the low bits go to `lows`. Returns how many bytes of it they fill; `None` when it is too short.
#[inline(always)]
pub fn split_residual(
    numbers: Numbers,
    value_bytes: usize,
    turned: bool,
    (base, raw): (&[u8], &[u8]),
    symbols: &mut [u8],
    lows: &mut [u8],
) -> Option<usize> {
    let bits = BitWriter { out: lows, at: 0, pending: 0, filled: 0 };
    match value_bytes {
        1 => short::split::<1>(numbers, turned, base, raw, symbols, bits),
        2 => short::split::<2>(numbers, turned, base, raw, symbols, bits),
        4 => short::split::<4>(numbers, turned, base, raw, symbols, bits),
        _ => long::split::<8>(numbers, turned, base, raw, symbols, bits),
    }
}

/// The inverse. Returns how many bits of `lows` were taken (bits past its end read as 0); `None` when a symbol stands
/// for no number.
#[inline(always)]
pub fn join_residual(
    numbers: Numbers,
    value_bytes: usize,
    turned: bool,
    base: &[u8],
    (symbols, lows): (&[u8], &[u8]),
    raw: &mut [u8],
) -> Option<usize> {
    let bits = BitReader { bytes: lows, at: 0 };
    match value_bytes {
        1 => short::join::<1>(numbers, turned, base, symbols, bits, raw),
        2 => short::join::<2>(numbers, turned, base, symbols, bits, raw),
        4 => short::join::<4>(numbers, turned, base, symbols, bits, raw),
        _ => long::join::<8>(numbers, turned, base, symbols, bits, raw),
    }
}

/// What a block's low bits may take, with the eight bytes that the last store or load touches.
type Window = [u8; WINDOW_BYTES + 8];
/// 256 numbers of at most 62 bits are less.
const WINDOW_BYTES: usize = 2048;

/// Words of changing widths: no branch depends on a width, for that is as good as random.
struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
    /// Bits that fill no byte yet, and how many (below 8).
    pending: u64,
    filled: u32,
}

impl BitWriter<'_> {
    /// Appends each word, which has no bits above its count (56 at most). What does not fit is counted only.
    #[inline(always)]
    fn push(&mut self, words: &[u64], counts: &[u32]) {
        let rest = self.out.get_mut(self.at..).unwrap_or_default();
        if let Some(window) = rest.first_chunk_mut() {
            self.at += put(words, counts, &mut self.pending, &mut self.filled, window);
        } else {
            let mut window = [0; WINDOW_BYTES + 8];
            let bytes = put(words, counts, &mut self.pending, &mut self.filled, &mut window);
            rest.iter_mut().zip(window).take(bytes + 1).for_each(|(out, byte)| *out = byte);
            self.at += bytes;
        }
    }

    /// Bytes written; `None` when there was no room.
    fn finish(self) -> Option<usize> {
        let bytes = self.at + usize::from(self.filled > 0);
        (bytes <= self.out.len()).then_some(bytes)
    }
}

/// Returns the whole bytes that the words fill.
#[inline(always)]
fn put(words: &[u64], counts: &[u32], pending: &mut u64, filled: &mut u32, window: &mut Window) -> usize {
    let (mut at, mut bits, mut bit_count) = (0, *pending, *filled);
    for (word, count) in words.iter().zip(counts) {
        bits |= word << bit_count;
        bit_count += count;
        // The mask changes nothing and tells the compiler that all is inside.
        let start = at & (WINDOW_BYTES - 1);
        window[start..start + 8].copy_from_slice(&bits.to_le_bytes());
        at += (bit_count >> 3) as usize;
        bits >>= bit_count & 56;
        bit_count &= 7;
    }
    (*pending, *filled) = (bits, bit_count);
    at
}

struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl BitReader<'_> {
    /// The words again, with bits of the next ones above their count (56 at most).
    #[inline(always)]
    fn take(&mut self, counts: &[u32], words: &mut [u64]) {
        let rest = self.bytes.get(self.at >> 3..).unwrap_or_default();
        let first = self.at & 7;
        let end = if let Some(window) = rest.first_chunk() {
            get(counts, first, window, words)
        } else {
            let mut window = [0; WINDOW_BYTES + 8];
            window.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            get(counts, first, &window, words)
        };
        self.at += end - first;
    }
}

/// `at` is the bit of `window` that the first word begins with; returns the one behind the last.
#[inline(always)]
fn get(counts: &[u32], mut at: usize, window: &Window, words: &mut [u64]) -> usize {
    for (word, count) in words.iter_mut().zip(counts) {
        let start = at >> 3 & (WINDOW_BYTES - 1);
        let bytes = window[start..start + 8].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        *word = bytes >> (at & 7);
        at += *count as usize;
    }
    at
}

#[inline(always)]
fn low_bits(word: u64, count: u64) -> u64 {
    word & ((1 << (count & 63)) - 1)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the caller has cut the word down to fewer bits")]
fn low_half(word: u64) -> u32 {
    word as u32
}

/// Bits up to the leading one. By way of f32, for no instruction of AVX2 counts leading zeros. The exponent is that of the
/// leading one, since the bit behind it is cleared first and so nothing rounds up to the next power of two.
#[inline(always)]
fn bit_count_short(number: u32) -> u32 {
    let half = number >> 1;
    #[expect(clippy::cast_precision_loss, reason = "the leading bit stays; see above")]
    let float = (half & !(half >> 1)).cast_signed() as f32;
    // 126 is the exponent of 0.5; of 0 and 1 there is no half and they count as 0 or 1 bit, which asks for no low bits.
    (float.to_bits() >> 23).saturating_sub(125)
}

#[inline(always)]
fn bit_count_long(number: u64) -> u64 {
    u64::from(u64::BITS - number.leading_zeros())
}

/// Two numbers of up to 28 bits (hostile symbols: 30) make a word.
const SHORT_WORDS: usize = BLOCK_VALUES / 2;

#[inline(always)]
fn counts_short(widths: &[u32; BLOCK_VALUES]) -> [u32; SHORT_WORDS] {
    let mut counts = [0; SHORT_WORDS];
    for (count, [width, next_width]) in counts.iter_mut().zip(widths.as_chunks().0) {
        *count = width + next_width;
    }
    counts
}

#[inline(always)]
fn push_short(numbers: &[u32; BLOCK_VALUES], widths: &[u32; BLOCK_VALUES], bits: &mut BitWriter<'_>) {
    let mut words = [0; SHORT_WORDS];
    for (word, ([one, next], [width, _])) in
        words.iter_mut().zip(numbers.as_chunks().0.iter().zip(widths.as_chunks::<2>().0))
    {
        *word = u64::from(*one) | u64::from(*next) << (width & 63);
    }
    bits.push(&words, &counts_short(widths));
}

#[inline(always)]
fn take_short(widths: &[u32; BLOCK_VALUES], bits: &mut BitReader<'_>, numbers: &mut [u32; BLOCK_VALUES]) {
    let mut words = [0; SHORT_WORDS];
    bits.take(&counts_short(widths), &mut words);
    for (word, ([one, next], [width, next_width])) in
        words.iter().zip(numbers.as_chunks_mut().0.iter_mut().zip(widths.as_chunks().0))
    {
        *one = low_half(low_bits(*word, u64::from(*width)));
        *next = low_half(low_bits(word >> (width & 63), u64::from(*next_width)));
    }
}

/// One number of up to 61 bits makes two words.
const LONG_WORDS: usize = BLOCK_VALUES * 2;

#[inline(always)]
fn counts_long(widths: &[u64; BLOCK_VALUES]) -> [u32; LONG_WORDS] {
    let mut counts = [0; LONG_WORDS];
    for ([low, high], width) in counts.as_chunks_mut().0.iter_mut().zip(widths) {
        let width = low_half(*width);
        (*low, *high) = (width.min(32), width.saturating_sub(32));
    }
    counts
}

#[inline(always)]
fn push_long(numbers: &[u64; BLOCK_VALUES], widths: &[u64; BLOCK_VALUES], bits: &mut BitWriter<'_>) {
    let mut words = [0; LONG_WORDS];
    for ([low, high], number) in words.as_chunks_mut().0.iter_mut().zip(numbers) {
        (*low, *high) = (number & 0xFFFF_FFFF, number >> 32);
    }
    bits.push(&words, &counts_long(widths));
}

#[inline(always)]
fn take_long(widths: &[u64; BLOCK_VALUES], bits: &mut BitReader<'_>, numbers: &mut [u64; BLOCK_VALUES]) {
    let mut words = [0; LONG_WORDS];
    bits.take(&counts_long(widths), &mut words);
    for (([low, high], number), width) in words.as_chunks().0.iter().zip(numbers).zip(widths) {
        *number = low_bits(low & 0xFFFF_FFFF | high << 32, *width);
    }
}

macro_rules! lane_loops {
    ($module:ident, $lane:ty, $bit_count:ident, $push:ident, $take:ident) => {
        mod $module {
            use super::{BLOCK_VALUES, BitReader, BitWriter, Numbers, fraction_bits};

            type Block = [$lane; BLOCK_VALUES];

            /// What a type's numbers are, as masks, so that no loop branches.
            #[derive(Clone, Copy)]
            struct Order<const BYTES: usize> {
                signs: $lane,
                exponent_shift: u32,
                exponents: $lane,
            }

            impl<const BYTES: usize> Order<BYTES> {
                #[expect(clippy::cast_possible_truncation, reason = "1 to 8")]
                const BITS: u32 = 8 * BYTES as u32;
                const TOP: $lane = 1 << (Self::BITS - 1);
                const ALL: $lane = Self::TOP | (Self::TOP - 1);
                const FRACTION_BITS: u32 = fraction_bits(BYTES);
                const SYMBOL_MAX: $lane = ((Self::BITS - Self::FRACTION_BITS + 1) << Self::FRACTION_BITS) as $lane - 1;

                fn of(numbers: Numbers, turned: bool) -> Self {
                    match numbers {
                        Numbers::Integers => Self { signs: 0, exponent_shift: 0, exponents: 0 },
                        Numbers::Floats { exponent_shift } => {
                            let exponents = (Self::ALL >> 1) >> (exponent_shift & (Self::BITS - 1));
                            Self { signs: Self::ALL, exponent_shift, exponents: if turned { exponents } else { 0 } }
                        }
                    }
                }

                #[inline(always)]
                fn load(bytes: &[u8; BYTES]) -> $lane {
                    let mut lane = [0; size_of::<$lane>()];
                    lane.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    <$lane>::from_le_bytes(lane)
                }

                #[inline(always)]
                fn store(value: $lane) -> [u8; BYTES] {
                    let mut bytes = [0; BYTES];
                    bytes.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
                    bytes
                }

                /// All ones when the top bit is set.
                #[inline(always)]
                fn spread(bits: $lane) -> $lane {
                    (bits >> (Self::BITS - 1)).wrapping_neg() & Self::ALL
                }

                /// Bits whose order as unsigned integers is that of the numbers.
                #[inline(always)]
                fn ordered(self, bits: $lane) -> $lane {
                    bits ^ ((Self::spread(bits) | Self::TOP) & self.signs)
                }

                #[inline(always)]
                fn bits(self, ordered: $lane) -> $lane {
                    ordered ^ ((Self::spread(ordered) ^ Self::ALL | Self::TOP) & self.signs)
                }

                /// How far a symbol turns: the base's exponent times the symbols of an octave. Folded to 0 to 255,
                /// which changes nothing modulo 255.
                #[inline(always)]
                fn turn(self, base: $lane) -> $lane {
                    let turn = (base >> self.exponent_shift & self.exponents) << Self::FRACTION_BITS;
                    let once = (turn & 255) + (turn >> 8);
                    // Only the exponent of f64 is long enough to leave more than 255.
                    if BYTES == 8 { (once & 255) + (once >> 8) } else { once }
                }

                #[inline(always)]
                fn turned(symbol: $lane, turn: $lane) -> $lane {
                    let sum = symbol.wrapping_sub(1).wrapping_add(turn);
                    let place = if sum >= 255 { sum - 255 } else { sum };
                    if symbol == 0 { 0 } else { place + 1 }
                }

                #[inline(always)]
                fn turned_back(symbol: $lane, turn: $lane) -> $lane {
                    let place = symbol.wrapping_sub(1);
                    let place = place.wrapping_sub(turn).wrapping_add(if place < turn { 255 } else { 0 });
                    if symbol == 0 { 0 } else { place + 1 }
                }
            }

            #[inline(always)]
            pub fn split<const BYTES: usize>(
                numbers: Numbers,
                turned: bool,
                base: &[u8],
                raw: &[u8],
                symbols: &mut [u8],
                mut bits: BitWriter<'_>,
            ) -> Option<usize> {
                let order = Order::<BYTES>::of(numbers, turned);
                let blocks = raw.as_chunks::<BYTES>().0.chunks(BLOCK_VALUES);
                let bases = base.as_chunks::<BYTES>().0.chunks(BLOCK_VALUES);
                let (mut lows, mut widths): (Block, Block) = ([0; BLOCK_VALUES], [0; BLOCK_VALUES]);
                for ((raw, base), symbols) in blocks.zip(bases).zip(symbols.chunks_mut(BLOCK_VALUES)) {
                    if raw.len() < BLOCK_VALUES {
                        (lows, widths) = ([0; BLOCK_VALUES], [0; BLOCK_VALUES]);
                    }
                    symbols_of(order, base, raw, symbols, &mut lows, &mut widths);
                    super::$push(&lows, &widths, &mut bits);
                    if bits.at > bits.out.len() {
                        return None;
                    }
                }
                bits.finish()
            }

            #[inline(always)]
            fn symbols_of<const BYTES: usize>(
                order: Order<BYTES>,
                base: &[[u8; BYTES]],
                raw: &[[u8; BYTES]],
                symbols: &mut [u8],
                lows: &mut Block,
                widths: &mut Block,
            ) {
                let values = raw.iter().zip(base).zip(symbols);
                for (((raw, base), symbol), (low, width)) in values.zip(lows.iter_mut().zip(widths)) {
                    let base = Order::load(base);
                    let step = order.ordered(Order::<BYTES>::load(raw)).wrapping_sub(order.ordered(base));
                    let number = (step << 1 ^ Order::<BYTES>::spread(step & Order::<BYTES>::ALL)) & Order::<BYTES>::ALL;
                    let bit_count = super::$bit_count(number);
                    *width = bit_count.saturating_sub((Order::<BYTES>::FRACTION_BITS + 1) as $lane);
                    *low = number & ((1 << *width) - 1);
                    let own = (number >> *width) + (*width << Order::<BYTES>::FRACTION_BITS);
                    *symbol = Order::<BYTES>::turned(own, order.turn(base)).to_le_bytes()[0];
                }
            }

            #[inline(always)]
            pub fn join<const BYTES: usize>(
                numbers: Numbers,
                turned: bool,
                base: &[u8],
                symbols: &[u8],
                mut bits: BitReader<'_>,
                raw: &mut [u8],
            ) -> Option<usize> {
                let order = Order::<BYTES>::of(numbers, turned);
                let blocks = raw.as_chunks_mut::<BYTES>().0.chunks_mut(BLOCK_VALUES);
                let bases = base.as_chunks::<BYTES>().0.chunks(BLOCK_VALUES);
                let (mut tops, mut widths): (Block, Block) = ([0; BLOCK_VALUES], [0; BLOCK_VALUES]);
                let mut lows: Block = [0; BLOCK_VALUES];
                for ((raw, base), symbols) in blocks.zip(bases).zip(symbols.chunks(BLOCK_VALUES)) {
                    if raw.len() < BLOCK_VALUES {
                        widths = [0; BLOCK_VALUES];
                    }
                    if tops_of(order, base, symbols, &mut tops, &mut widths) > Order::<BYTES>::SYMBOL_MAX {
                        return None;
                    }
                    super::$take(&widths, &mut bits, &mut lows);
                    values_of(order, base, &tops, &lows, raw);
                }
                Some(bits.at)
            }

            /// Returns the greatest symbol.
            #[inline(always)]
            fn tops_of<const BYTES: usize>(
                order: Order<BYTES>,
                base: &[[u8; BYTES]],
                symbols: &[u8],
                tops: &mut Block,
                widths: &mut Block,
            ) -> $lane {
                let mut greatest = 0;
                for ((base, symbol), (top, width)) in base.iter().zip(symbols).zip(tops.iter_mut().zip(widths)) {
                    let turn = order.turn(Order::load(base));
                    let own = Order::<BYTES>::turned_back(<$lane>::from(*symbol), turn);
                    *width = (own >> Order::<BYTES>::FRACTION_BITS).max(1) - 1;
                    *top = (own - (*width << Order::<BYTES>::FRACTION_BITS)) << *width;
                    greatest = greatest.max(own);
                }
                greatest
            }

            #[inline(always)]
            fn values_of<const BYTES: usize>(
                order: Order<BYTES>,
                base: &[[u8; BYTES]],
                tops: &Block,
                lows: &Block,
                raw: &mut [[u8; BYTES]],
            ) {
                for ((raw, base), (top, low)) in raw.iter_mut().zip(base).zip(tops.iter().zip(lows)) {
                    let number = top | low;
                    let step = number >> 1 ^ (number & 1).wrapping_neg();
                    let ordered = order.ordered(Order::load(base)).wrapping_add(step) & Order::<BYTES>::ALL;
                    *raw = Order::<BYTES>::store(order.bits(ordered));
                }
            }
        }
    };
}

lane_loops!(short, u32, bit_count_short, push_short, take_short);
lane_loops!(long, u64, bit_count_long, push_long, take_long);
