//! Codes the rows of a plain file of f32 against those of another and prints bits a value and speed.
//!
//!     cargo run --release --example residual -- TYPE BASE_FILE FILE
#![expect(clippy::unwrap_used, clippy::panic, reason = "a tool for developers")]

use vark_core::codec::{Compression, Scratch, encode, residual};
use vark_core::stream::{ChunkShape, ElementType, StreamRole};

const TURNS: usize = 15;
const CHUNK_BYTES: usize = 320 * 384 * 4;

fn best(mut work: impl FnMut()) -> f64 {
    let timed = |work: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        work();
        started.elapsed().as_secs_f64()
    };
    (0..TURNS).map(|_| timed(&mut work)).fold(f64::INFINITY, f64::min)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [element, base, file] = arguments.as_slice() else { panic!("see the source") };
    let element_type = ElementType::from_name(element).unwrap();
    let (base, data) = (std::fs::read(base).unwrap(), std::fs::read(file).unwrap());
    let (mut block, mut alone, mut scratch) = (Vec::new(), Vec::new(), Scratch::new());
    let (mut stored, mut stored_alone, mut encoding, mut decoding) = (0, 0, 0.0, 0.0);
    for (base, raw) in base.chunks(CHUNK_BYTES).zip(data.chunks(CHUNK_BYTES)) {
        let shape = ChunkShape::plain(StreamRole::VECTORS, element_type);
        encode(Compression::Auto, &shape, raw, &mut alone, &mut scratch).unwrap();
        stored_alone += alone.len();
        let limit = raw.len() + 64;
        encoding +=
            best(|| assert!(residual::encode(element_type, base, raw, limit, &mut block, &mut scratch).unwrap()));
        let mut found = vec![1; raw.len()];
        decoding += best(|| residual::decode(element_type, base, &block, &mut found, &mut scratch).unwrap());
        assert!(found == raw);
        stored += block.len();
    }
    let bits = |stored: usize| stored as f64 * 8.0 / (data.len() / element_type.bytes() as usize) as f64;
    let speed = |seconds: f64| data.len() as f64 / seconds / 1e9;
    println!("{:.2} bits a value, alone {:.2}", bits(stored), bits(stored_alone));
    println!("encode {:.2} GB/s, decode {:.2} GB/s a core", speed(encoding), speed(decoding));
}
