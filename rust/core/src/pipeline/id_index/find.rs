//! Looking ids up. No row comes out whose id is not the one asked for.

use super::runs::{Groups, Run, refused};
use super::{CHANGES, GONE, RUN, key_of, name_of};
use crate::error::{Result, to_usize};
use crate::pipeline::rows::{ReadState, RowReader, no_stream};
use crate::stream::{StreamDescription, StreamRole};

/// Whether a stream of ids has an index.
pub fn has_index(reader: &RowReader, ids: usize) -> bool {
    let archive = reader.archive();
    let Some(stream) = archive.streams().get(ids) else { return false };
    let has = |word| archive.stream_index(&name_of(&stream.name, RUN, word)).is_some();
    stream.role == StreamRole::IDS && stream.row_elements == 1 && has("keys") && has("places")
}

/// (number in `wanted`, row) of every row that has one of the ids, ascending. `wanted`: the bits of ids, signed ones extended by
/// their sign. `None` when there is no index.
///
/// # Errors
/// `Damaged` at `Codec` for an index that says what the stream of ids does not; those of reading.
pub fn find(reader: &RowReader, ids: usize, wanted: &[u64]) -> Result<Option<Vec<(usize, u64)>>> {
    let Some(stream) = reader.archive().streams().get(ids) else { return Err(no_stream(ids)) };
    if !has_index(reader, ids) {
        return Ok(None);
    }
    let mut state = ReadState::for_few();
    let Some(mut run) = Run::open(reader, &mut state, &stream.name, RUN)? else { return Ok(None) };
    let mut changes = Run::open(reader, &mut state, &stream.name, CHANGES)?;
    let groups = Groups::open(reader, &mut state, &stream.name)?;
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_unstable_by_key(|number| wanted.get(*number));
    let mut found = Vec::new();
    let mut places = Vec::new();
    for number in order {
        let Some(key) = wanted.get(number).copied() else { continue };
        places.clear();
        if let Some(changes) = &mut changes {
            changes.places_of(reader, &mut state, key, &mut places)?;
        }
        let is_gone = places.contains(&GONE);
        if places.is_empty() {
            run.places_of(reader, &mut state, key, &mut places)?;
        }
        for place in places.iter().filter(|_| !is_gone) {
            let row = match &groups {
                Some(groups) => groups.row(*place, stream.row_count),
                None => Some(*place).filter(|row| *row < stream.row_count),
            };
            let Some(row) = row else {
                return Err(refused(&stream.name, &format!("says that an id is at place {place}, where no row is")));
            };
            found.push((number, row));
        }
    }
    check(reader, &mut state, (ids, stream), wanted, &mut found)?;
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

/// Every row that was found has the id that was asked for. In row order, so that each chunk of ids is decoded once.
fn check(
    reader: &RowReader,
    state: &mut ReadState,
    (ids, stream): (usize, &StreamDescription),
    wanted: &[u64],
    found: &mut [(usize, u64)],
) -> Result<()> {
    found.sort_unstable_by_key(|(number, row)| (*row, *number));
    let mut id = vec![0; to_usize(u64::from(stream.row_bytes), "id")?];
    for (number, row) in found {
        reader.read_rows(state, ids, *row, &mut id)?;
        if Some(&key_of(stream.element_type, &id)) != wanted.get(*number) {
            return Err(refused(&stream.name, &format!("says that row {row} has an id that it does not have")));
        }
    }
    Ok(())
}
