//! Parts and maps (spec 5.3): which streams are put together from rows that several archives stored.

use crate::bytes::Cursor;
use crate::error::{Error, Layer, Result};
use crate::stream::{ElementType, PartRecord, StreamDescription, StreamRole};
use std::collections::BTreeMap;

/// How a stream that is mapped finds its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Number of the stream of role map.
    pub map: usize,
    /// Part number → number of its stream.
    pub parts: BTreeMap<u16, usize>,
}

/// The three fields at the end of a stream record.
///
/// # Errors
/// `Damaged` at layer `Directory`.
pub(super) fn decode(fields: &mut Cursor<'_>) -> Result<PartRecord> {
    let (part_of, number, base) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let narrow = |value: u32, what: &str| {
        u16::try_from(value).map_err(|_| damaged(format!("{what} {value}, expected at most {}", u16::MAX)))
    };
    let owner = part_of.checked_sub(1).and_then(|owner| usize::try_from(owner).ok());
    Ok(PartRecord { owner, number: narrow(number, "part_number")?, base: narrow(base, "base_part")? })
}

/// The rules between streams; gives the mapping of each stream that has one.
///
/// # Errors
/// `Damaged` at layer `Directory`.
pub(super) fn check(streams: &[StreamDescription], is_delta: bool) -> Result<Vec<Option<Mapping>>> {
    let mut mappings: Vec<Option<Mapping>> = vec![None; streams.len()];
    if !is_delta {
        return Ok(mappings);
    }
    for (number, stream) in streams.iter().enumerate().filter(|(_, stream)| stream.role == StreamRole::MAP) {
        let owner = owner_of(streams, stream)?;
        check_map(stream, &streams[owner]).map_err(|error| error.within(&place(stream)))?;
        if mappings[owner].replace(Mapping { map: number, parts: BTreeMap::new() }).is_some() {
            return Err(damaged(format!("stream \"{}\" has two maps", streams[owner].name)));
        }
    }
    for (number, stream) in streams.iter().enumerate() {
        if stream.role == StreamRole::PART {
            let owner = owner_of(streams, stream)?;
            let Some(mapping) = &mut mappings[owner] else {
                return Err(damaged(format!("stream \"{}\" has parts and no map", streams[owner].name)));
            };
            check_part(stream, &streams[owner]).map_err(|error| error.within(&place(stream)))?;
            if mapping.parts.insert(stream.part.number, number).is_some() {
                return Err(
                    damaged(format!("two parts of \"{}\" have its number", streams[owner].name)).within(&place(stream))
                );
            }
        } else if stream.role != StreamRole::MAP && stream.part != PartRecord::default() {
            return Err(damaged("is no part, but has the fields of one".into()).within(&place(stream)));
        }
    }
    for stream in streams.iter().filter(|stream| stream.role == StreamRole::PART && stream.part.base != 0) {
        let mapping = stream.part.owner.and_then(|owner| mappings.get(owner)?.as_ref());
        let base = mapping.and_then(|mapping| mapping.parts.get(&stream.part.base)).and_then(|base| streams.get(*base));
        if base.is_none_or(|base| base.part.base != 0) {
            let detail = format!("base_part {} is no part of its owner that is stored whole", stream.part.base);
            return Err(damaged(detail).within(&place(stream)));
        }
    }
    Ok(mappings)
}

fn owner_of(streams: &[StreamDescription], stream: &StreamDescription) -> Result<usize> {
    let owner = stream.part.owner.filter(|owner| {
        streams.get(*owner).is_some_and(|owner| !matches!(owner.role, StreamRole::PART | StreamRole::MAP))
    });
    owner.ok_or_else(|| damaged("belongs to no stream that could own it".into()).within(&place(stream)))
}

fn check_map(map: &StreamDescription, owner: &StreamDescription) -> Result<()> {
    if (map.part.number, map.part.base) != (0, 0) {
        return Err(damaged("is a map, but has the number of a part".into()));
    }
    if (map.element_type, map.row_elements, map.row_count) != (ElementType::U64, 1, owner.row_count) {
        return Err(damaged(format!("expected {} rows of one u64, as \"{}\" has", owner.row_count, owner.name)));
    }
    Ok(())
}

fn check_part(part: &StreamDescription, owner: &StreamDescription) -> Result<()> {
    if part.part.number == 0 {
        return Err(damaged("part_number 0, expected 1 to 65535".into()));
    }
    if (part.element_type, part.row_elements) != (owner.element_type, owner.row_elements) {
        let (elements, name) = (owner.row_elements, owner.element_type.name());
        return Err(damaged(format!("expected rows of {elements} {name} as its owner \"{}\" has", owner.name)));
    }
    Ok(())
}

fn place(stream: &StreamDescription) -> String {
    format!("stream \"{}\"", stream.name)
}

fn damaged(detail: String) -> Error {
    Error::damaged(Layer::Directory, "directory", detail)
}
