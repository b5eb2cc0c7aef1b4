//! Codes changed rows of links against what they were and back, timed: `edits TYPE ROW_ELEMENTS NODES BASE RAW BLOCK`, files
//! of u64 node numbers, of the old rows and of the new ones; the block is written.

use std::time::Instant;

use vark_core::codec::{Scratch, edits};
use vark_core::stream::{ChunkShape, ElementType, StreamRole};

const TURNS: usize = 25;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [element_type, row_elements, nodes, base, raw, target] = arguments.as_slice() else {
        return Err("expected TYPE ROW_ELEMENTS NODES BASE RAW BLOCK".into());
    };
    let element_type = ElementType::from_name(element_type).ok_or("unknown element type")?;
    let row_elements = row_elements.parse()?;
    let shape = ChunkShape { row_elements, ..ChunkShape::plain(StreamRole::LINKS, element_type) };
    let (nodes, base, raw) = (std::fs::read(nodes)?, std::fs::read(base)?, std::fs::read(raw)?);
    let nodes: Vec<u64> = nodes.as_chunks().0.iter().map(|node| u64::from_le_bytes(*node)).collect();
    let (mut block, mut found, mut scratch) = (Vec::new(), vec![0; raw.len()], Scratch::new());
    let mut seconds = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        let start = Instant::now();
        if !edits::encode(&shape, &nodes, &base, &raw, raw.len() + 4096, &mut block, &mut scratch)? {
            return Err("these rows are no lists".into());
        }
        seconds[0] = seconds[0].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        edits::decode(&shape, &nodes, &base, &block, &mut found, &mut scratch)?;
        seconds[1] = seconds[1].min(start.elapsed().as_secs_f64());
        if found != raw {
            return Err("decoding gave other rows".into());
        }
    }
    let rows = nodes.len() as f64;
    let fields: Vec<u32> = block[..72].as_chunks().0.iter().map(|field| u32::from_le_bytes(*field)).collect();
    println!("planes (symbols, bytes): {:?}, {} exceptions", &fields[2..].as_chunks::<2>().0, fields[0]);
    println!(
        "{} rows, {} bytes: {:.2} bits a row; encode {:.2} M rows/s, decode {:.2} M rows/s",
        nodes.len(),
        block.len(),
        block.len() as f64 * 8.0 / rows,
        rows / seconds[0] / 1e6,
        rows / seconds[1] / 1e6
    );
    std::fs::write(target, &block)?;
    Ok(())
}
