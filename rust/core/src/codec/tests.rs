//! Choice and round trip through the public pair `encode`/`decode`.

#![expect(clippy::unwrap_used, reason = "a test stops at the first fault")]

use proptest::prelude::*;

use super::testing::{ELEMENT_TYPES, chunks, noise};
use super::*;
use crate::stream::{ChunkShape, ElementType, StreamRole};

const ROLES: [StreamRole; 17] = [
    StreamRole::LITERAL,
    StreamRole::OPAQUE,
    StreamRole::VECTORS,
    StreamRole::CODES,
    StreamRole::IDS,
    StreamRole::LINKS,
    StreamRole::LEVELS,
    StreamRole::LIST_SIZES,
    StreamRole::PLAN,
    StreamRole::PAYLOAD,
    StreamRole::DOCUMENT,
    StreamRole::ATTACHMENT,
    StreamRole::PROBE,
    StreamRole::CODEBOOK,
    StreamRole::TRANSFORM,
    StreamRole::PARAMETERS,
    StreamRole(999),
];

/// Encodes, checks the bound and the way back, and says what was chosen and how long the block is.
fn round_trip(role: StreamRole, element_type: ElementType, raw: &[u8], scratch: &mut Scratch) -> (Codec, usize) {
    let mut block = vec![0xEE; raw.len() % 100];
    let codec = encode(Compression::Auto, &ChunkShape::plain(role, element_type), raw, &mut block, scratch).unwrap();
    assert!(block.len() <= raw.len() + 64);
    assert!(codec == Codec::Raw || block.len() < raw.len());
    let mut found = vec![0xA5; raw.len()];
    decode(codec, &ChunkShape::plain(role, element_type), &block, &mut found, scratch).unwrap();
    assert!(found == raw, "{codec:?} {role:?} {element_type:?}, {} bytes", raw.len());
    (codec, block.len())
}

fn little_endian<const BYTES: usize>(values: impl Iterator<Item = [u8; BYTES]>) -> Vec<u8> {
    values.flatten().collect()
}

/// Twelve uniform numbers make one that is normal enough.
fn gaussian_rows(count: usize) -> Vec<u8> {
    let bytes = noise(count * 48, 9);
    little_endian(bytes.chunks_exact(48).map(|draw| {
        let words =
            draw.chunks_exact(4).map(|word| f64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
        (((words.sum::<f64>() / f64::from(u32::MAX)) - 6.0) * 0.05).to_string().parse::<f32>().unwrap().to_le_bytes()
    }))
}

#[test]
fn every_role_and_type_comes_back_and_stays_within_the_bound() {
    let mut scratch = Scratch::new();
    for role in ROLES {
        for element_type in ELEMENT_TYPES {
            for raw in [0, 1, 2, 40, 1000, 40_000].iter().flat_map(|count| chunks(element_type, *count)) {
                round_trip(role, element_type, &raw, &mut scratch);
            }
        }
    }
}

#[test]
fn no_compression_means_raw() {
    let (mut block, mut scratch) = (vec![1; 9], Scratch::new());
    let raw = [7; 100];
    let codec = encode(
        Compression::None,
        &ChunkShape::plain(StreamRole::PLAN, ElementType::U8),
        &raw,
        &mut block,
        &mut scratch,
    )
    .unwrap();
    assert_eq!((codec, block.as_slice()), (Codec::Raw, raw.as_slice()));
}

#[test]
fn each_kind_of_stream_gets_the_codec_that_suits_it() {
    use ElementType as E;
    use StreamRole as R;
    let mut scratch = Scratch::new();
    let mut chosen = |role, element_type, raw: &[u8]| round_trip(role, element_type, raw, &mut scratch).0;
    let noise = noise(400_000, 4);
    let floats = gaussian_rows(100_000);
    let ids = little_endian((0..50_000u64).map(|id| (id + 7).to_le_bytes()));
    let scattered = little_endian((0..50_000u64).map(|id| (id * 48_271 % 50_021).to_le_bytes()));
    let links = little_endian(
        noise.chunks_exact(4).map(|bytes| (i32::from_le_bytes([bytes[0], bytes[1], 1, 0])).to_le_bytes()),
    );
    let levels = little_endian((0..100_000u32).map(|node| (1 + u32::from(node % 1000 == 0)).to_le_bytes()));
    let whole = little_endian(noise.iter().map(|byte| f32::from(byte & 15).to_le_bytes()));
    let halves: Vec<u8> = floats.chunks_exact(4).flat_map(|value| [value[2], value[3]]).collect();
    let again = halves[..1024].repeat(100);
    let skewed: Vec<u8> = noise.iter().map(|byte| byte & (byte >> 1)).collect();
    for (role, element_type, raw, codec) in [
        (R::VECTORS, E::F32, &floats, Codec::Float32),
        (R::CODEBOOK, E::F32, &floats, Codec::Float32),
        (R::VECTORS, E::F32, &noise, Codec::Raw),
        (R::VECTORS, E::F32, &whole, Codec::Narrow),
        (R::VECTORS, E::F16, &halves, Codec::Float16),
        (R::VECTORS, E::Bf16, &halves, Codec::Bfloat16),
        (R::VECTORS, E::F16, &again, Codec::Zstd),
        (R::VECTORS, E::I8, &skewed, Codec::Zstd),
        (R::VECTORS, E::F16, &noise, Codec::Raw),
        (R::IDS, E::I64, &ids, Codec::Affine),
        (R::IDS, E::I64, &scattered, Codec::Bitpack),
        (R::LINKS, E::I32, &links, Codec::Bitpack),
        (R::LEVELS, E::I32, &levels, Codec::Zstd),
        (R::CODES, E::U8, &noise, Codec::Raw),
        (R::CODES, E::U8, &skewed, Codec::Zstd),
        (R::OPAQUE, E::U8, &noise, Codec::Raw),
        (R::PLAN, E::U8, &skewed, Codec::Zstd),
        (R::PAYLOAD, E::U8, &noise, Codec::Raw),
    ] {
        assert_eq!(chosen(role, element_type, raw), codec, "{} {}", role.name(), element_type.name());
    }
}

#[test]
fn true_floats_are_not_taken_for_repeating_ones_and_save_a_sixth() {
    let raw = gaussian_rows(131_072);
    let (codec, block_bytes) = round_trip(StreamRole::VECTORS, ElementType::F32, &raw, &mut Scratch::new());
    assert_eq!(codec, Codec::Float32);
    assert!(block_bytes * 1195 < raw.len() * 1000, "{block_bytes} of {}", raw.len());
}

#[test]
fn the_choice_does_not_depend_on_what_was_coded_before() {
    let mut used = Scratch::new();
    for element_type in ELEMENT_TYPES {
        for raw in chunks(element_type, 30_000) {
            let coded = |scratch: &mut Scratch, mut block: Vec<u8>| {
                let codec = encode(
                    Compression::Auto,
                    &ChunkShape::plain(StreamRole::OPAQUE, element_type),
                    &raw,
                    &mut block,
                    scratch,
                );
                (codec.unwrap(), block)
            };
            assert!(coded(&mut used, vec![1; 300_000]) == coded(&mut Scratch::new(), Vec::new()));
        }
    }
}

/// Floats that codecs stumble over, as bits.
fn special_float() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(0x8000_0000),
        Just(0x7F80_0000),
        Just(0xFF80_0000),
        1u32..0x80_0000,
        0x7F80_0001u32..=0x7FFF_FFFF,
        0xFF80_0001u32..=0xFFFF_FFFF,
        (-1f32..1f32).prop_map(f32::to_bits),
        any::<u32>(),
    ]
}

proptest! {
    #[test]
    fn any_bytes_come_back(role in 0..ROLES.len(), kind in 0..12usize, raw in proptest::collection::vec(any::<u8>(), 0..600)) {
        round_trip(ROLES[role], ELEMENT_TYPES[kind], &raw, &mut Scratch::new());
    }

    #[test]
    fn any_narrow_integers_come_back(
        kind in 0..8usize, base in any::<u64>(), width in 0..=64u32, seed in any::<u64>(), count in 0..500usize,
    ) {
        let value_bytes = ELEMENT_TYPES[kind].bytes() as usize;
        let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
        let values = noise(8 * count, seed);
        let raw: Vec<u8> = values.as_chunks::<8>().0.iter().flat_map(|value| {
            (base.wrapping_add(u64::from_le_bytes(*value) & mask)).to_le_bytes().into_iter().take(value_bytes)
        }).collect();
        round_trip(StreamRole::IDS, ELEMENT_TYPES[kind], &raw, &mut Scratch::new());
    }

    #[test]
    fn any_floats_come_back(values in proptest::collection::vec(special_float(), 0..2000)) {
        let raw = little_endian(values.iter().map(|bits| bits.to_le_bytes()));
        round_trip(StreamRole::VECTORS, ElementType::F32, &raw, &mut Scratch::new());
    }

    #[test]
    fn any_block_is_decoded_or_refused(codec in 0..Codec::ALL.len(), kind in 0..12usize, raw_bytes in 0..200usize,
                                       block in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut raw = vec![0; raw_bytes];
        if let Err(fault) = decode(Codec::ALL[codec], &ChunkShape::plain(StreamRole::OPAQUE, ELEMENT_TYPES[kind]), &block, &mut raw, &mut Scratch::new()) {
            prop_assert_eq!(fault.layer(), Some(Layer::Codec));
        }
    }
}
