//! Streams that belong to no member: payload, documents, attachments, probes, the plan.

use super::coding::Feed;
use super::pack::{Input, StreamInput};
use super::packer::Packer;
use crate::error::{Error, ErrorKind, Result, to_usize};
use crate::plan::batch::{Batch, Content, Piece, Slice};
use crate::store::ReadAt;
use crate::store::file::FileSource;
use crate::store::pipe::PipeSource;
use crate::stream::StreamSpec;
use std::sync::Arc;

/// Packs one stream; returns what changed while it was read.
///
/// # Errors
/// `InvalidArgument` when the bytes are no whole rows; those of reading and packing.
pub(super) fn pack_stream(packer: &mut Packer<'_>, stream: &mut StreamInput) -> Result<Option<String>> {
    let row_bytes = u64::from(stream.spec.row_bytes()?);
    let place = || format!("stream {:?}", stream.spec.name);
    let mut file = None;
    let source: Arc<dyn ReadAt> = match &mut stream.input {
        Input::File(path) => file.insert(Arc::new(FileSource::open(path)?)).clone(),
        Input::Shared(source) => source.clone(),
        Input::Pipe(reader) => {
            let Some(reader) = reader.take() else {
                return Err(Error::new(ErrorKind::InvalidArgument, place(), "its pipe was used before"));
            };
            return pack_stream_pipe(packer, &stream.spec, row_bytes, PipeSource::new(reader)).map(|()| None);
        }
    };
    let bytes = source.byte_count();
    if !bytes.is_multiple_of(row_bytes) {
        let detail = format!("{bytes} bytes; expected whole rows of {row_bytes}");
        return Err(Error::new(ErrorKind::InvalidArgument, place(), detail));
    }
    let number = packer.declare(&stream.spec, bytes / row_bytes)?;
    let chunk_rows = packer.table.shape(number).map_or(1, |shape| shape.chunk_rows);
    let mut first_row = 0;
    while first_row < bytes / row_bytes {
        let rows = chunk_rows.min(bytes / row_bytes - first_row);
        let batch = plain_batch(number, first_row, rows, row_bytes, chunk_rows)?;
        packer.push(batch, Feed::At(source.clone(), first_row * row_bytes))?;
        first_row += rows;
    }
    packer.close_streams(number..number + 1)?;
    Ok(file.and_then(|file| file.change()))
}

fn pack_stream_pipe(packer: &mut Packer<'_>, spec: &StreamSpec, row_bytes: u64, mut pipe: PipeSource) -> Result<()> {
    let number = packer.declare(spec, 0)?;
    let chunk_rows = packer.table.shape(number).map_or(1, |shape| shape.chunk_rows);
    let chunk_bytes = to_usize(chunk_rows * row_bytes, "chunk")?;
    let mut first_row = 0;
    loop {
        let mut bytes = Vec::new();
        pipe.take_some(chunk_bytes, &mut bytes)?;
        if bytes.is_empty() {
            return packer.close_streams(number..number + 1);
        }
        let rows = bytes.len() as u64 / row_bytes;
        if rows * row_bytes != bytes.len() as u64 {
            let detail = format!("ends in the middle of a row of {row_bytes} bytes");
            return Err(Error::new(ErrorKind::InvalidArgument, format!("stream {:?}", spec.name), detail));
        }
        packer.push(plain_batch(number, first_row, rows, row_bytes, chunk_rows)?, Feed::Owned(bytes))?;
        first_row += rows;
    }
}

pub(super) fn plain_batch(stream: usize, first_row: u64, rows: u64, row_bytes: u64, chunk_rows: u64) -> Result<Batch> {
    let bytes = to_usize(rows * row_bytes, "batch")?;
    let slices = vec![Slice { stream, first_row, rows, row_bytes, chunk_rows }];
    let content = Content::Rows { slices, pieces: vec![Piece { slice: 0, bytes }], repeat: 1 };
    Ok(Batch { offset: 0, bytes, content })
}
