//! Codes the rows of a plain file as the chunks of a stream and prints size and speed of each way.
//!
//!     cargo run --release --example chunks -- ROLE TYPE ROW_ELEMENTS CHUNK_ROWS FILE [sorted]
//!
//! `sorted` puts lists of links in ascending order first.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a tool for developers")]

use vark_core::codec::{Compression, Scratch, decode, encode, sort_lists};
use vark_core::stream::{ChunkShape, ElementType, StreamRole};

const TURNS: usize = 9;

/// Seconds that this thread has run: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// The result of `work` and the seconds of its best turn.
fn best<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let mut timed = || {
        let started = cpu_seconds();
        (work(), cpu_seconds() - started)
    };
    let first = timed();
    (1..TURNS).map(|_| timed()).fold(first, |best, turn| if turn.1 < best.1 { turn } else { best })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, element, elements, rows, file, sorted @ ..] = arguments.as_slice() else { panic!("see the source") };
    let role = StreamRole::from_name(role).unwrap();
    let element_type = ElementType::from_name(element).unwrap();
    let row_elements: u32 = elements.parse().unwrap();
    let chunk_rows: usize = rows.parse().unwrap();
    let row_bytes = (row_elements * element_type.bytes()) as usize;
    let mut data = std::fs::read(file).unwrap();
    let shape = |first_row| ChunkShape { role, element_type, row_elements, first_row };
    if !sorted.is_empty() {
        assert!(sort_lists(&shape(0), &mut data));
    }
    let links = |row: &[u8]| match element_type {
        ElementType::U32 => usize::from(u16::from_le_bytes([row[0], row[1]])),
        _ => row.chunks_exact(4).take_while(|slot| **slot != [0xFF; 4]).count(),
    };
    let units = match role {
        StreamRole::LINKS => data.chunks_exact(row_bytes).map(links).sum(),
        _ => data.len() / row_bytes,
    };
    let (mut block, mut found, mut scratch) = (Vec::new(), vec![1; data.len()], Scratch::new());
    let (mut stored, mut encoding, mut decoding, mut codecs) = (0, 0.0, 0.0, Vec::new());
    for (number, raw) in data.chunks(chunk_rows * row_bytes).enumerate() {
        let shape = shape((number * chunk_rows) as u64);
        let (codec, seconds) = best(|| encode(Compression::Auto, &shape, raw, &mut block, &mut scratch).unwrap());
        encoding += seconds;
        let target = &mut found[number * chunk_rows * row_bytes..][..raw.len()];
        decoding += best(|| decode(codec, &shape, &block, target, &mut scratch).unwrap()).1;
        stored += block.len();
        if !codecs.contains(&codec.name()) {
            codecs.push(codec.name());
        }
    }
    assert!(found == data);
    let per_unit = stored as f64 * 8.0 / units as f64;
    let speed = |seconds: f64| units as f64 / seconds / 1e6;
    println!(
        "{} chunks, {codecs:?}: {units} links or rows, {per_unit:.3} bits each; encode {:.1}, decode {:.1} M/s",
        data.len().div_ceil(chunk_rows * row_bytes),
        speed(encoding),
        speed(decoding)
    );
}
