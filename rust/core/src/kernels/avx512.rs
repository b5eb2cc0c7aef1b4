//! AVX-512 with byte permutes (VBMI: Ice Lake, Zen 4 and later). For the planes of f32 it was tried and is no faster
//! than AVX2.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_storeu_si128, _mm256_storeu_si256, _mm512_add_epi16, _mm512_add_epi32,
    _mm512_add_epi64, _mm512_and_si512, _mm512_andnot_si512, _mm512_cmpeq_epi8_mask, _mm512_cmpeq_epi32_mask,
    _mm512_cmpgt_epu8_mask, _mm512_cmplt_epi32_mask, _mm512_cvtepi32_epi8, _mm512_cvtepi32_epi16,
    _mm512_cvtepi64_epi32, _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_mask_cmpgt_epu64_mask, _mm512_or_si512,
    _mm512_permutex2var_epi8, _mm512_permutexvar_epi8, _mm512_reduce_add_epi64, _mm512_sad_epu8, _mm512_set1_epi8,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi32,
    _mm512_slli_epi16, _mm512_sllv_epi32, _mm512_sllv_epi64, _mm512_srli_epi16, _mm512_srli_epi32, _mm512_srli_epi64,
    _mm512_srlv_epi32, _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_sub_epi8,
};

use super::prefix::{self, BitSink, PrefixCode};
use super::{avx2, bits, links};

/// As `bits::unpack`. Numbers of up to 25 bits lie within four bytes, sixteen at once; up to 57 within eight.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn unpack<const BYTES: usize>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) {
    let done = match (BYTES, width) {
        (1 | 2 | 4, 1..=25) => unpack_sixteens::<BYTES>(packed, base, width, raw),
        (4 | 8, 1..=57) => unpack_eights::<BYTES>(packed, base, width, raw),
        _ => 0,
    };
    // `done` is a multiple of eight values, so the rest starts on a byte border.
    let start = (done / 8 * width as usize).min(packed.len());
    bits::unpack::<BYTES>(&packed[start..], base, width, &mut raw[done * BYTES..]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
fn unpack_sixteens<const BYTES: usize>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) -> usize {
    let (gather, shift) = lanes::<4>(width);
    let (gather, shift) = (load_64(&gather), load_64(&shift));
    let mask = _mm512_set1_epi32(low_word(bits::mask(width)));
    let base = _mm512_set1_epi32(low_word(base));
    let mut done = 0;
    for (out, start) in raw.chunks_exact_mut(16 * BYTES).zip((0..).step_by(2 * width as usize)) {
        let Some(window) = packed.get(start..).and_then(|rest| rest.first_chunk::<64>()) else { break };
        let spread = _mm512_permutexvar_epi8(gather, load_64(window));
        let numbers = _mm512_and_si512(_mm512_srlv_epi32(spread, shift), mask);
        let values = _mm512_add_epi32(numbers, base);
        match BYTES {
            1 => {
                if let Some(out) = out.first_chunk_mut() {
                    store_16(out, _mm512_cvtepi32_epi8(values));
                }
            }
            2 => {
                if let Some(out) = out.first_chunk_mut() {
                    store_32(out, _mm512_cvtepi32_epi16(values));
                }
            }
            _ => {
                if let Some(out) = out.first_chunk_mut() {
                    store_64(out, values);
                }
            }
        }
        done += 16;
    }
    done
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
fn unpack_eights<const BYTES: usize>(packed: &[u8], base: u64, width: u32, raw: &mut [u8]) -> usize {
    let (gather, shift) = lanes::<8>(width);
    let (gather, shift) = (load_64(&gather), load_64(&shift));
    let mask = _mm512_set1_epi64(bits::mask(width).cast_signed());
    let base = _mm512_set1_epi64(base.cast_signed());
    let mut done = 0;
    for (out, start) in raw.chunks_exact_mut(8 * BYTES).zip((0..).step_by(width as usize)) {
        let Some(window) = packed.get(start..).and_then(|rest| rest.first_chunk::<64>()) else { break };
        let spread = _mm512_permutexvar_epi8(gather, load_64(window));
        let numbers = _mm512_and_si512(_mm512_srlv_epi64(spread, shift), mask);
        let values = _mm512_add_epi64(numbers, base);
        match BYTES {
            4 => {
                if let Some(out) = out.first_chunk_mut() {
                    store_32(out, _mm512_cvtepi64_epi32(values));
                }
            }
            _ => {
                if let Some(out) = out.first_chunk_mut() {
                    store_64(out, values);
                }
            }
        }
        done += 8;
    }
    done
}

/// Which bytes of the window each lane of `LANE` bytes takes, and by how much it then shifts.
fn lanes<const LANE: usize>(width: u32) -> ([u8; 64], [u8; 64]) {
    let (mut gather, mut shift) = ([0; 64], [0; 64]);
    let pairs = gather.as_chunks_mut::<LANE>().0.iter_mut().zip(shift.as_chunks_mut::<LANE>().0);
    for (lane, (gather, shift)) in (0u32..).zip(pairs) {
        let [first, ..] = (lane * width / 8).to_le_bytes();
        // The permute looks at six bits only; a byte past the window is one that the mask drops.
        gather.iter_mut().zip(first..).for_each(|(index, byte)| *index = byte);
        shift.iter_mut().zip((lane * width % 8).to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    (gather, shift)
}

/// As `links::rank`. Compares give bits, sixteen at once: lists of up to 32, two compares a number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx2,popcnt")]
pub fn rank(list: &[[u32; 8]], below: &mut [u8], left: &mut [u8]) {
    if list.len() > 4 {
        return avx2::rank(list, below, left);
    }
    let mut numbers = [links::PAD; 32];
    numbers.iter_mut().zip(list.as_flattened()).for_each(|(to, from)| *to = *from);
    let [first, second] = halves_of(&numbers);
    let mut behind = u32::MAX;
    for ((number, below), left) in numbers.iter().zip(below).zip(left) {
        let number = _mm512_set1_epi32(number.cast_signed());
        let smaller = |half| u32::from(_mm512_cmplt_epi32_mask(half, number));
        // A list of up to sixteen has nothing in its second half that is smaller.
        let smaller = smaller(first) | smaller(second) << 16;
        [*below, ..] = smaller.count_ones().to_le_bytes();
        [*left, ..] = (smaller & behind).count_ones().to_le_bytes();
        behind <<= 1;
    }
}

/// As `links::mark`: rows of the usual size are two compares.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx2")]
pub fn mark(claims: &[u32], id_bits: u32, base: u32, lists: &[u32], slots: usize, marks: &mut [u64]) {
    if slots != 32 {
        return avx2::mark(claims, id_bits, base, lists, slots, marks);
    }
    let (lists, _) = lists.as_chunks::<32>();
    for claim in claims {
        let (row, id) = links::claimed(*claim, id_bits, base);
        let (Some(list), Some(mark)) = (lists.get(row), marks.get_mut(row)) else { continue };
        let wanted = _mm512_set1_epi32(id.cast_signed());
        let [first, second] = halves_of(list).map(|half| _mm512_cmpeq_epi32_mask(half, wanted));
        *mark |= u64::from(first) | u64::from(second) << 16;
    }
}

/// So many neighbouring values are counted in registers: exponents of measurements are few.
const COUNTED_VALUES: usize = 16;
/// So many groups say which.
const SAMPLE_GROUPS: usize = 16;

/// As `prefix::count_bytes`. A byte's counter takes one compare and one add for each of the commonest values; the others
/// are counted one by one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub fn count_bytes(bytes: &[u8], counts: &mut [u32; 256]) {
    let (groups, rest) = bytes.as_chunks::<64>();
    let Some(lowest) = commonest(groups) else { return prefix::count_bytes(bytes, counts) };
    let (first, one) = (_mm512_set1_epi8(lowest.cast_signed()), _mm512_set1_epi8(1));
    let last = _mm512_set1_epi8(15);
    // A counter of eight bits takes so many.
    for groups in groups.chunks(255) {
        let mut counters = [_mm512_setzero_si512(); COUNTED_VALUES];
        for group in groups {
            // Those below the lowest wrap to large numbers.
            let values = _mm512_sub_epi8(load_64(group), first);
            for (value, counter) in (0i8..).zip(&mut counters) {
                let equal = _mm512_cmpeq_epi8_mask(values, _mm512_set1_epi8(value));
                *counter = _mm512_mask_add_epi8(*counter, equal, *counter, one);
            }
            let mut others = _mm512_cmpgt_epu8_mask(values, last);
            while others != 0 {
                counts[usize::from(group[others.trailing_zeros() as usize & 63])] += 1;
                others &= others.wrapping_sub(1);
            }
        }
        for (count, counter) in counts.iter_mut().skip(usize::from(lowest)).zip(counters) {
            let sum = _mm512_reduce_add_epi64(_mm512_sad_epu8(counter, _mm512_setzero_si512()));
            *count += low_word(sum.cast_unsigned()).cast_unsigned();
        }
    }
    prefix::count_bytes(rest, counts);
}

/// The lowest of `COUNTED_VALUES` neighbours that are nearly all of a sample, if there are such.
fn commonest(groups: &[[u8; 64]]) -> Option<u8> {
    let mut counts = [0; 256];
    let step = (groups.len() / SAMPLE_GROUPS).max(1);
    let sample = groups.iter().step_by(step).take(SAMPLE_GROUPS);
    let sampled = u32::try_from(64 * sample.len()).unwrap_or(0);
    sample.for_each(|group| group.iter().for_each(|byte| counts[usize::from(*byte)] += 1));
    let mut inside: u32 = counts[..COUNTED_VALUES].iter().sum();
    let mut best = (inside, 0u8);
    for (lowest, (leaving, coming)) in (1u8..).zip(counts.iter().zip(&counts[COUNTED_VALUES..])) {
        inside = inside + coming - leaving;
        best = best.max((inside, lowest));
    }
    (sampled > 0 && best.0 >= sampled - sampled / 16).then_some(best.1)
}

/// Values that one permute of two tables finds.
const TABLE_VALUES: usize = 128;

/// Codes of 64 bytes side by side: pairs, fours, then eights in a lane of 64 bits, the last byte lowest in each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,bmi2")]
pub fn encode_bytes(code: &PrefixCode, bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let coded = |length: &u8| *length > 0;
    let first = code.lengths.iter().position(coded).unwrap_or(0);
    let last = code.lengths.iter().rposition(coded).unwrap_or(0);
    let Some(base) = u8::try_from(first).ok().filter(|_| last - first < TABLE_VALUES) else {
        return prefix::encode_bytes(code, bytes, out);
    };
    let tables = Tables::of(code, first);
    let base = _mm512_set1_epi8(base.cast_signed());
    let mut sink = BitSink::default();
    let (head, groups) = bytes.as_rchunks::<64>();
    for group in groups.iter().rev() {
        let fours = tables.fours(_mm512_sub_epi8(load_64(group), base));
        let eights = join(fours[0], fours[1]);
        // Of two neighbouring lanes the even one says the sum.
        let sixteens = join(eights, eights.swapped());
        // Rare bytes have long codes: where sixteen do not fit, eight mostly do, and four always.
        if sixteens.exceeds(56, 0b0101_0101) == 0 {
            let ([a, _, b, _, c, _, d, _], counts) = sixteens.words();
            sink.append(out, d, counts[6])?;
            sink.append(out, c, counts[4])?;
            sink.append(out, b, counts[2])?;
            sink.append(out, a, counts[0])?;
        } else if eights.exceeds(56, 0xFF) == 0 {
            let (words, counts) = eights.words();
            for lane in (0..8).rev() {
                sink.append(out, words[lane], counts[lane])?;
            }
        } else {
            let ((before, before_counts), (after, after_counts)) = (fours[0].words(), fours[1].words());
            for lane in (0..8).rev() {
                sink.append(out, after[lane], after_counts[lane])?;
                sink.append(out, before[lane], before_counts[lane])?;
            }
        }
    }
    prefix::encode_into(code, head, &mut sink, out)?;
    sink.finish(out)
}

/// A prefix code by bytes: what `TABLE_VALUES` values from the first on have.
struct Tables {
    low: [__m512i; 2],
    high: [__m512i; 2],
    lengths: [__m512i; 2],
}

/// Codes side by side, and how many bits they have, in lanes of 64 bits.
#[derive(Clone, Copy)]
struct Lanes {
    codes: __m512i,
    counts: __m512i,
}

/// The codes of `second`, which are written first, then those of `first`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
fn join(first: Lanes, second: Lanes) -> Lanes {
    Lanes {
        codes: _mm512_or_si512(second.codes, _mm512_sllv_epi64(first.codes, second.counts)),
        counts: _mm512_add_epi64(first.counts, second.counts),
    }
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
    fn swapped(self) -> Self {
        let swap = |lanes| _mm512_shuffle_epi32::<0b01_00_11_10>(lanes);
        Self { codes: swap(self.codes), counts: swap(self.counts) }
    }

    /// Which of these lanes have more bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
    fn exceeds(self, bits: i64, lanes: u8) -> u8 {
        _mm512_mask_cmpgt_epu64_mask(lanes, self.counts, _mm512_set1_epi64(bits))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
    fn words(self) -> ([u64; 8], [u64; 8]) {
        (words_of(self.codes), words_of(self.counts))
    }
}

impl Tables {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
    fn of(code: &PrefixCode, first: usize) -> Self {
        let (mut low, mut high, mut lengths) = ([[0; 64]; 2], [[0; 64]; 2], [[0; 64]; 2]);
        let codes = code.codes.iter().zip(&code.lengths).skip(first).take(TABLE_VALUES);
        for (place, (code, length)) in codes.enumerate() {
            let [low_byte, high_byte] = code.to_le_bytes();
            let (half, place) = (place / 64, place % 64);
            (low[half][place], high[half][place], lengths[half][place]) = (low_byte, high_byte, *length);
        }
        let load = |halves: [[u8; 64]; 2]| [load_64(&halves[0]), load_64(&halves[1])];
        Self { low: load(low), high: load(high), lengths: load(lengths) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
    fn fours(&self, values: __m512i) -> [Lanes; 2] {
        let find = |[a, b]: [__m512i; 2]| _mm512_permutex2var_epi8(a, values, b);
        let (low, high, lengths) = (find(self.low), find(self.high), find(self.lengths));
        // Sixteen bits a byte: those at even places come before those at odd ones.
        let even_bytes = _mm512_set1_epi16(0x00FF);
        let before = _mm512_or_si512(_mm512_and_si512(low, even_bytes), _mm512_slli_epi16::<8>(high));
        let after = _mm512_or_si512(_mm512_srli_epi16::<8>(low), _mm512_andnot_si512(even_bytes, high));
        let after_bits = _mm512_srli_epi16::<8>(lengths);
        let pair_bits = _mm512_add_epi16(_mm512_and_si512(lengths, even_bytes), after_bits);
        // 32 bits a pair, of two lanes of 16 the first and the second.
        let first = |halves| _mm512_and_si512(halves, _mm512_set1_epi32(0xFFFF));
        let second = |halves| _mm512_srli_epi32::<16>(halves);
        let first_pairs = _mm512_or_si512(first(after), _mm512_sllv_epi32(first(before), first(after_bits)));
        let second_pairs = _mm512_or_si512(second(after), _mm512_sllv_epi32(second(before), second(after_bits)));
        let (first_bits, second_bits) = (first(pair_bits), second(pair_bits));
        // 64 bits for four, of two lanes of 32 the first and the second.
        let upper = |halves| _mm512_srli_epi64::<32>(halves);
        let lower = |halves| _mm512_and_si512(halves, _mm512_set1_epi64(0xFFFF_FFFF));
        let lower_lanes = |codes, counts| Lanes { codes: lower(codes), counts: lower(counts) };
        let upper_lanes = |codes, counts| Lanes { codes: upper(codes), counts: upper(counts) };
        [
            join(lower_lanes(first_pairs, first_bits), lower_lanes(second_pairs, second_bits)),
            join(upper_lanes(first_pairs, first_bits), upper_lanes(second_pairs, second_bits)),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn words_of(lanes: __m512i) -> [u64; 8] {
    let mut bytes = [0; 64];
    store_64(&mut bytes, lanes);
    let mut words = [0; 8];
    words.iter_mut().zip(bytes.as_chunks::<8>().0).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    words
}

fn low_word(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves_of(numbers: &[u32; 32]) -> [__m512i; 2] {
    let [first, second] = [0, 16].map(|start| numbers[start..].as_ptr());
    // SAFETY: from both places on, sixteen of the 32 numbers are readable; the loads ask for no alignment.
    unsafe { [_mm512_loadu_si512(first.cast()), _mm512_loadu_si512(second.cast())] }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_64(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is 64 readable bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_64(bytes: &mut [u8; 64], value: __m512i) {
    // SAFETY: the array is 64 writable bytes; the store asks for no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx")]
fn store_32(bytes: &mut [u8; 32], value: __m256i) {
    // SAFETY: the array is 32 writable bytes; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store_16(bytes: &mut [u8; 16], value: __m128i) {
    // SAFETY: the array is 16 writable bytes; the store asks for no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
}
