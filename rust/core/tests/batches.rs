//! Batches against a model: they tile the member, cut it anywhere, and come apart and together without a change.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use vark_core::error::{Layer, Result};
use vark_core::plan::batch::{Content, CountReader, Cursor, Splitter, join, next_batch};
use vark_core::plan::compile::{CompiledCounts, CompiledRun, StreamShape, StreamTable, compile};
use vark_core::plan::{Counts, DerivedRule, Field, FieldRows, Member, Run};
use vark_core::testing::Random;

/// Streams, runs over them, and the bytes that the runs must make by the letter of the specification.
struct Model {
    random: Random,
    table: StreamTable,
    rows: Vec<Vec<u8>>,
    shapes: Vec<StreamShape>,
    runs: Vec<Run>,
    expected: Vec<u8>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Self {
            random: Random(seed),
            table: StreamTable::default(),
            rows: Vec::new(),
            shapes: Vec::new(),
            runs: Vec::new(),
            expected: Vec::new(),
        };
        for _ in 0..1 + model.random.below(5) {
            match model.random.below(4) {
                0 => model.plain_rows(),
                1 => model.groups(false),
                2 => model.groups(true),
                _ => model.derived(),
            }
        }
        model
    }

    /// A new stream of random rows; its name is its number.
    fn stream(&mut self, row_bytes: u64, row_count: u64) -> usize {
        let chunk_rows = 1 + self.random.below(12);
        let shape = StreamShape { row_bytes, chunk_rows, row_count };
        self.rows.push(self.random.bytes(row_bytes * row_count));
        self.shapes.push(shape);
        self.table.push(&self.rows.len().to_string(), shape)
    }

    fn name(stream: usize) -> String {
        (stream + 1).to_string()
    }

    fn bytes_of(&self, stream: usize, first: u64, rows: u64) -> Vec<u8> {
        let row_bytes = self.shapes[stream].row_bytes;
        let range = usize::try_from(first * row_bytes).unwrap()..usize::try_from((first + rows) * row_bytes).unwrap();
        self.rows[stream][range].to_vec()
    }

    fn plain_rows(&mut self) {
        let (row_bytes, rows, first) = (1 + self.random.below(9), self.random.below(80), self.random.below(4));
        let stream = self.stream(row_bytes, first + rows + self.random.0 % 2);
        self.expected.extend(self.bytes_of(stream, first, rows));
        self.runs.push(Run::Rows { stream: Self::name(stream), first, rows });
    }

    /// A stream that holds `counts`, somewhere in its rows.
    fn counts_stream(&mut self, counts: &[u64]) -> (usize, Counts) {
        let bytes = [1u32, 2, 4, 8][usize::try_from(self.random.below(4)).unwrap()];
        let (offset, divide, subtract) = (self.random.below(3), 1 + self.random.below(4), self.random.below(20));
        let row_bytes = offset + u64::from(bytes) + self.random.below(3);
        let first = self.random.below(3);
        let stream = self.stream(row_bytes, first + counts.len() as u64);
        for (group, count) in counts.iter().enumerate() {
            let at = usize::try_from((first + group as u64) * row_bytes + offset).unwrap();
            let value = (count * divide + subtract).to_le_bytes();
            let width = usize::try_from(bytes).unwrap();
            self.rows[stream][at..at + width].copy_from_slice(&value[..width]);
        }
        let offset = u32::try_from(offset).unwrap();
        (stream, Counts { stream: Self::name(stream), first, offset, bytes, subtract, divide })
    }

    fn groups(&mut self, counted: bool) {
        let groups = 1 + self.random.below(40);
        let most = if self.random.below(4) == 0 { 40 } else { 4 };
        let counts: Vec<u64> = (0..groups).map(|_| if counted { self.random.below(most) } else { 0 }).collect();
        let mut fields = Vec::new();
        let mut run_counts = None;
        let inline = counted && self.random.below(2) == 0;
        if counted {
            let (stream, found) = self.counts_stream(&counts);
            if inline {
                fields.push((stream, found.first, Some(1)));
            } else {
                // Every group needs a byte of the member; here its count.
                self.expected.extend(self.bytes_of(stream, found.first, groups));
                self.runs.push(Run::Rows { stream: Self::name(stream), first: found.first, rows: groups });
            }
            run_counts = Some(found);
        }
        for number in 0..1 + self.random.below(3) {
            let counted = counted && (number == 0 || self.random.below(2) == 0);
            let fixed = (!counted).then(|| 1 + self.random.below(2) * self.random.below(30));
            let rows = fixed.map_or(counts.iter().sum(), |rows| rows * groups);
            let (row_bytes, first) = (1 + self.random.below(12), self.random.below(3));
            let stream = self.stream(row_bytes, first + rows);
            fields.push((stream, first, fixed));
        }
        let mut at: Vec<u64> = fields.iter().map(|field| field.1).collect();
        for count in &counts {
            for (number, (stream, _, fixed)) in fields.iter().enumerate() {
                let rows = fixed.unwrap_or(*count);
                self.expected.extend(self.bytes_of(*stream, at[number], rows));
                at[number] += rows;
            }
        }
        let fields = fields.into_iter().map(|(stream, first, fixed)| Field {
            stream: Self::name(stream),
            first,
            rows: fixed.map_or(FieldRows::COUNTED, |rows| FieldRows::Fixed(u32::try_from(rows).unwrap())),
        });
        self.runs.push(Run::Groups { groups, fields: fields.collect(), counts: run_counts });
    }

    fn derived(&mut self) {
        let groups = self.random.below(60);
        let counts: Vec<u64> = (0..groups).map(|_| self.random.below(6)).collect();
        let (_, found) = self.counts_stream(&counts);
        let table: Vec<u64> = (0..6).map(|_| self.random.below(1 << 40)).collect();
        let mut sum = 0u64;
        self.expected.extend(0u64.to_le_bytes());
        for count in counts {
            sum += table[usize::try_from(count).unwrap()];
            self.expected.extend(sum.to_le_bytes());
        }
        self.runs.push(Run::Derived { rule: DerivedRule::RunningOffsets, groups, counts: found, table });
    }

    fn member(&self) -> Member {
        Member {
            name: "m".to_owned(),
            bytes: self.expected.len() as u64,
            layout: "test".to_owned(),
            facts: serde_json::Map::new(),
            warning: None,
            blake3: None,
            runs: self.runs.clone(),
        }
    }
}

impl CountReader for &Model {
    fn value(&mut self, counts: &CompiledCounts, group: u64, group_offset: u64) -> Result<u64> {
        let row = self.bytes_of(counts.stream, counts.first + group, 1);
        if counts.inline {
            let start = usize::try_from(group_offset).unwrap();
            assert_eq!(row, self.expected[start..start + row.len()], "an inline count stands at its group");
        }
        let at = usize::try_from(counts.offset).unwrap();
        let bytes = &row[at..at + usize::try_from(counts.bytes).unwrap()];
        Ok(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }
}

/// The most bytes of a batch that starts in run `run`.
fn limit(run: &CompiledRun) -> u64 {
    let CompiledRun::Groups { fields, primary, .. } = run else { return 8 * 65_537 };
    let widest = &fields[*primary];
    let group: u64 = fields.iter().map(|field| field.row_bytes).sum();
    (2 * widest.chunk_rows * widest.row_bytes + widest.row_bytes).max(group)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_tile_the_member_and_split_and_join_are_inverse(seed in any::<u64>()) {
        let model = Model::new(seed);
        let runs = compile(&model.member(), &model.table).unwrap();
        let most = runs.iter().map(limit).max().unwrap_or(0);
        let mut cursor = Cursor::default();
        let mut made = Vec::new();
        loop {
            let start = cursor.clone();
            let batch = next_batch(&runs, &mut cursor, &mut &model).unwrap();
            let again = next_batch(&runs, &mut start.clone(), &mut &model).unwrap();
            prop_assert_eq!(&batch, &again, "a saved cursor gives the same batch");
            let Some(batch) = batch else { break };
            prop_assert_eq!(batch.offset, made.len() as u64);
            prop_assert_eq!(cursor.offset, batch.offset + batch.bytes as u64);
            prop_assert!(batch.bytes as u64 <= most && batch.bytes > 0);
            let (slices, pieces, repeat) = match batch.content {
                Content::Derived(bytes) => {
                    made.extend(bytes);
                    continue;
                }
                Content::Rows { slices, pieces, repeat } => (slices, pieces, repeat),
            };
            let rows: Vec<Vec<u8>> =
                slices.iter().map(|slice| model.bytes_of(slice.stream, slice.first_row, slice.rows)).collect();
            let borrowed: Vec<Option<&[u8]>> = rows.iter().map(|row| Some(row.as_slice())).collect();
            let mut joined = vec![0; batch.bytes];
            join(&pieces, repeat, &borrowed, &mut joined);
            // One slice after another comes to the same.
            let mut filled = vec![0; batch.bytes];
            for number in (0..borrowed.len()).rev() {
                let one: Vec<Option<&[u8]>> =
                    borrowed.iter().enumerate().map(|(other, row)| row.filter(|_| other == number)).collect();
                join(&pieces, repeat, &one, &mut filled);
            }
            assert!(filled == joined);
            for part_bytes in [joined.len(), 1 + usize::try_from(seed % 1999).unwrap()] {
                let mut apart = vec![Vec::new(); rows.len()];
                let mut splitter = Splitter::new(&pieces, repeat);
                joined.chunks(part_bytes).for_each(|part| splitter.take(part, &mut apart));
                prop_assert_eq!(&apart, &rows, "in parts of {} bytes", part_bytes);
            }
            made.extend(joined);
        }
        prop_assert_eq!(&made, &model.expected);
    }

    #[test]
    fn a_member_that_is_not_tiled_is_never_compiled_into_its_bytes(seed in any::<u64>()) {
        let mut model = Model::new(seed);
        let number = usize::try_from(model.random.below(model.runs.len() as u64)).unwrap();
        let pick = model.random.below(3);
        let changed = match &mut model.runs[number] {
            Run::Rows { rows, .. } => { *rows += 1 + pick; true }
            Run::Groups { fields, .. } if pick == 0 => { fields.truncate(0); true }
            Run::Groups { groups, .. } | Run::Derived { groups, .. } => { *groups += 1; true }
        };
        prop_assert!(changed);
        let outcome = compile(&model.member(), &model.table).and_then(|runs| {
            let mut cursor = Cursor::default();
            let mut guard = Guard(&model);
            while next_batch(&runs, &mut cursor, &mut guard)?.is_some() {}
            Ok(cursor.offset)
        });
        match outcome {
            Ok(bytes) => prop_assert_ne!(bytes, model.expected.len() as u64),
            Err(error) => prop_assert_eq!(error.layer(), Some(Layer::Plan)),
        }
    }
}

/// The model without its own assertions.
struct Guard<'a>(&'a Model);

impl CountReader for Guard<'_> {
    fn value(&mut self, counts: &CompiledCounts, group: u64, _group_offset: u64) -> Result<u64> {
        let plain = CompiledCounts { inline: false, ..counts.clone() };
        let mut model = self.0;
        model.value(&plain, group, 0)
    }
}
