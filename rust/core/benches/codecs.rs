//! Codec speeds per logical byte, without hashing. `VARK_BENCH_DATA` names an .npy file of f32 rows (version 1, header
//! of 128 bytes); without it the rows are synthetic, gaussian and of unit length.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a bench may stop at the first fault")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vark_core::codec::{Codec, Compression, Scratch, decode, encode};
use vark_core::kernels::{Machine, Narrow, Rule};
use vark_core::stream::{ChunkShape, ElementType, StreamRole};

const DIMENSION: usize = 384;
/// As the chunk rule has it: about 512 KiB, whole rows, a multiple of 64.
const CHUNK_BYTES: usize = 320 * DIMENSION * 4;
const NPY_HEADER_BYTES: usize = 128;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Sum of twelve uniform numbers, less its mean.
    fn gaussian(&mut self) -> f64 {
        (0..12).map(|_| (self.next() >> 40) as f64 / (1u64 << 24) as f64).sum::<f64>() - 6.0
    }
}

fn unit_rows(row_count: usize, dimension: usize) -> Vec<u8> {
    let mut noise = Noise(88_172_645_463_325_252);
    let row = |_| {
        let row: Vec<f64> = (0..dimension).map(|_| noise.gaussian()).collect();
        let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.into_iter().flat_map(move |value| ((value / norm) as f32).to_le_bytes()).collect::<Vec<u8>>()
    };
    (0..row_count).flat_map(row).collect()
}

fn float_rows() -> Vec<u8> {
    match std::env::var("VARK_BENCH_DATA") {
        Ok(path) => std::fs::read(path).unwrap().split_off(NPY_HEADER_BYTES),
        Err(_) => unit_rows(8_192, DIMENSION),
    }
}

/// The floats cut down to half precision.
fn halves_of(narrow: Narrow, floats: &[u8]) -> Vec<u8> {
    let keep = if narrow == Narrow::F16 { 0xFFFF_E000 } else { 0xFFFF_0000 };
    let machine = Machine::detect();
    let half = |value: &[u8; 4]| {
        let mut half = [0; 2];
        // Tiny values are not f16 and become 0.
        let cut = (u32::from_le_bytes(*value) & keep).to_le_bytes();
        if machine.narrow(narrow, &cut, &mut half) { half } else { [0; 2] }
    };
    floats.as_chunks::<4>().0.iter().flat_map(half).collect()
}

/// The halves as f32 rows brought to unit length (by `rule`).
fn rows_of(narrow: Narrow, rule: Rule, halves: &[u8]) -> Vec<u8> {
    let machine = Machine::detect();
    let rows = halves.chunks_exact(2 * DIMENSION).flat_map(|values| {
        let mut row = vec![0; 4 * DIMENSION];
        machine.widen(narrow, Rule::Plain, 1.0, values, &mut row);
        let squares = row.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value).powi(2));
        let length = squares.sum::<f32>().sqrt();
        machine.widen(narrow, rule, if rule == Rule::Divide { length } else { 1.0 / length }, values, &mut row);
        row
    });
    rows.collect()
}

fn integers<const BYTES: usize>(count: usize, below: u64) -> Vec<u8> {
    let mut noise = Noise(1_234_567);
    (0..count).flat_map(|_| (noise.next() % below).to_le_bytes().into_iter().take(BYTES)).collect()
}

/// Times both ways over whole chunks; checks the answer and prints the ratio first.
fn both_ways(criterion: &mut Criterion, name: &str, role: StreamRole, element_type: ElementType, data: &[u8]) {
    rows_both_ways(criterion, name, &ChunkShape::plain(role, element_type), data);
}

/// As `both_ways`, of rows of DIMENSION f32 values.
fn float_rows_both_ways(criterion: &mut Criterion, name: &str, data: &[u8]) {
    let plain = ChunkShape::plain(StreamRole::VECTORS, ElementType::F32);
    rows_both_ways(criterion, name, &ChunkShape { row_elements: DIMENSION as u32, ..plain }, data);
}

fn rows_both_ways(criterion: &mut Criterion, name: &str, shape: &ChunkShape, data: &[u8]) {
    let mut scratch = Scratch::new();
    let mut blocks: Vec<(Codec, Vec<u8>, usize)> = Vec::new();
    for raw in data.chunks(CHUNK_BYTES) {
        let mut block = Vec::new();
        let codec = encode(Compression::Auto, shape, raw, &mut block, &mut scratch).unwrap();
        let mut found = vec![0; raw.len()];
        decode(codec, shape, &block, &mut found, &mut scratch).unwrap();
        assert!(found == raw);
        blocks.push((codec, block, raw.len()));
    }
    let stored: usize = blocks.iter().map(|block| block.1.len()).sum();
    println!("{name}: {:?}, ratio {:.4}", blocks[0].0, data.len() as f64 / stored as f64);

    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(data.len() as u64)).sample_size(20);
    let mut block = Vec::new();
    group.bench_function(BenchmarkId::new("encode", name), |bencher| {
        bencher.iter(|| {
            for raw in data.chunks(CHUNK_BYTES) {
                let codec = encode(Compression::Auto, shape, raw, &mut block, &mut scratch);
                black_box((codec.unwrap(), block.len()));
            }
        });
    });
    let mut raw = vec![0; CHUNK_BYTES];
    group.bench_function(BenchmarkId::new("decode", name), |bencher| {
        bencher.iter(|| {
            for (codec, block, raw_bytes) in &blocks {
                decode(*codec, shape, block, &mut raw[..*raw_bytes], &mut scratch).unwrap();
                black_box(&raw);
            }
        });
    });
    group.finish();
}

fn codecs(criterion: &mut Criterion) {
    let floats = float_rows();
    both_ways(criterion, "f32 values", StreamRole::VECTORS, ElementType::F32, &floats);
    float_rows_both_ways(criterion, "f32 rows", &floats);
    for (name, narrow) in [("f16", Narrow::F16), ("bf16", Narrow::Bf16)] {
        let halves = halves_of(narrow, &floats);
        let element_type = ElementType::from_name(name).unwrap();
        both_ways(criterion, name, StreamRole::VECTORS, element_type, &halves);
        for rule in [Rule::Plain, Rule::Multiply, Rule::Divide] {
            let rows = rows_of(narrow, rule, &halves);
            float_rows_both_ways(criterion, &format!("f32 rows, {rule:?} {name}"), &rows);
        }
    }
    let whole: Vec<u8> = floats
        .chunks_exact(4)
        .flat_map(|v| (f32::from_le_bytes([v[0], v[1], v[2], v[3]]) * 900.0).round().abs().min(255.0).to_le_bytes())
        .collect();
    float_rows_both_ways(criterion, "f32 rows of whole numbers", &whole);
    let links = integers::<4>(2_000_000, 300_000);
    both_ways(criterion, "i32 links", StreamRole::LINKS, ElementType::I32, &links);
    let ids = integers::<8>(1_000_000, 1_000_000);
    both_ways(criterion, "i64 ids", StreamRole::IDS, ElementType::I64, &ids);
    let line: Vec<u8> = (0..1_000_000u64).flat_map(u64::to_le_bytes).collect();
    both_ways(criterion, "i64 line", StreamRole::IDS, ElementType::I64, &line);
    let codes = integers::<1>(8_000_000, 256);
    both_ways(criterion, "u8 product codes", StreamRole::CODES, ElementType::U8, &codes);
    let mut noise = Noise(5);
    let scalar: Vec<u8> = (0..8_000_000).map(|_| (noise.gaussian() * 24.0 + 128.0) as u8).collect();
    both_ways(criterion, "u8 scalar codes", StreamRole::CODES, ElementType::U8, &scalar);
}

/// One chunk in cache, every instruction set of the machine.
fn kernels(criterion: &mut Criterion) {
    let raw = unit_rows(320, DIMENSION);
    let count = raw.len() / 4;
    let (mut exponents, mut lows, mut merged) = (vec![0; count], vec![0; 3 * count], vec![0; raw.len()]);
    let numbers = integers::<4>(count, 1 << 19);
    let mut packed = vec![0; (count * 19).div_ceil(8)];
    let mut group = criterion.benchmark_group("kernel");
    group.throughput(Throughput::Bytes(raw.len() as u64)).sample_size(20);
    for machine in Machine::available() {
        let name = |kernel: &str| BenchmarkId::new(kernel, format!("{machine:?}"));
        group.bench_function(name("split_exponents"), |b| {
            b.iter(|| machine.split_exponents(black_box(&raw), &mut exponents))
        });
        group.bench_function(name("split_lows"), |b| b.iter(|| machine.split_lows(black_box(&raw), &mut lows)));
        group.bench_function(name("merge"), |b| b.iter(|| machine.merge(black_box(&exponents), &lows, &mut merged)));
        assert!(merged == raw);
        let row = &raw[..4 * DIMENSION];
        group.bench_function(name("looks_scaled, one true f32 row"), |b| {
            b.iter(|| assert!(!machine.looks_scaled(black_box(row), 10)))
        });
        group.bench_function(name("extremes"), |b| b.iter(|| machine.extremes(4, black_box(&numbers))));
        group.bench_function(name("extremes_8"), |b| b.iter(|| machine.extremes(8, black_box(&numbers))));
        group.bench_function(name("pack"), |b| b.iter(|| machine.pack(4, black_box(&numbers), 0, 19, &mut packed)));
        group.bench_function(name("unpack"), |b| b.iter(|| machine.unpack(4, black_box(&packed), 0, 19, &mut merged)));
        assert!(merged == numbers);
        merged.copy_from_slice(&raw);
    }
    group.finish();
}

criterion_group!(benches, codecs, kernels);
criterion_main!(benches);
