//! A terabyte, without a terabyte.

use super::*;
use crate::stream::chunk_rows_for;

#[test]
fn a_row_of_a_terabyte_costs_one_index_block_and_one_block() {
    const ROW_BYTES: u32 = 3_072;
    let row_count = (1u64 << 40) / u64::from(ROW_BYTES);
    let chunk_rows = chunk_rows_for(StreamRole::VECTORS, ROW_BYTES, row_count);
    let mut writer = ArchiveWriter::new(ID);
    let spec = StreamSpec::new("vectors", StreamRole::VECTORS, ElementType::F32, ROW_BYTES / 4);
    writer.declare(&spec, chunk_rows).unwrap();
    let chunk_count = row_count.div_ceil(chunk_rows);
    let (wanted, mut kept) = (chunk_count / 2, (0, Vec::new()));
    for chunk in 0..chunk_count {
        let rows = chunk_rows.min(row_count - chunk * chunk_rows);
        let block = if chunk == wanted { vec![7; 5_000] } else { Vec::new() };
        let block_bytes = if chunk == wanted { 5_000 } else { rows * u64::from(ROW_BYTES) };
        let placed = writer.place(0, rows, block_bytes, digest::crc64(&block), [3; 32], 0).unwrap();
        if chunk == wanted {
            kept = (placed.offset, block);
        }
    }
    let tail_offset = writer.position();
    let finished = writer.finish("{}").unwrap();
    assert!(finished.archive_bytes > 1_000_000_000_000);
    let regions = vec![kept.clone(), (tail_offset, finished.tail)];
    let source = Counting::new(Sparse { byte_count: finished.archive_bytes, regions });

    let archive = Archive::open(Arc::clone(&source) as Arc<dyn ReadAt>).unwrap();
    assert_eq!(source.take(), [(finished.archive_bytes - 262_144, 262_144)]);
    let row = wanted * chunk_rows + 1;
    let entry = archive.entry(0, row / chunk_rows).unwrap();
    let mut block = Vec::new();
    archive.read_block(&entry, &mut block).unwrap();
    assert_eq!(block, kept.1);
    let reads = source.take();
    assert_eq!(reads.len(), 2);
    assert!(reads[0].1 < 256 * 1024, "an index block");
    assert_eq!(reads[1], (entry.offset, 5_000));
}

/// `cargo test --release -- --ignored --nocapture two_million`: the writer's cost a chunk.
#[test]
#[ignore = "a measurement"]
fn two_million_chunks_are_placed_in_a_second() {
    let start = std::time::Instant::now();
    let mut writer = ArchiveWriter::new(ID);
    writer.declare(&StreamSpec::bytes("rows", StreamRole::OPAQUE), 524_288).unwrap();
    for chunk in 0..2_000_000u64 {
        writer.place(0, 524_288, 400_000 + chunk % 99_991, chunk, [1; 32], 1).unwrap();
    }
    let placed = start.elapsed();
    let finished = writer.finish("{}").unwrap();
    println!("placed in {placed:?}, finished after {:?}, tail {}", start.elapsed(), finished.tail.len());
}
