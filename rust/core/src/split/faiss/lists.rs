//! Inverted lists, told apart by a fourcc.
//!
//! `il00`: none here. `ilar`: `nlist` u64 · `code_size` u64 · sizes · for each list that is not empty its
//! codes, then its ids (i64). Sizes are `full` + vec<u64> of nlist, or `sprs` + vec<u64> of (list, size) pairs.
//! `ilod` (the lists lie in another file): `nlist` · `code_size` · vec of (size, capacity, offset) u64 ·
//! vec of free (offset, capacity) u64 · file name vec<u8> · bytes of that file u64.

use super::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::FieldRows;
use crate::split::walk::ListExtent;
use crate::split::{CountsSpec, FieldSpec};
use crate::stream::{ElementType, StreamRole, StreamSpec};

/// Longest path that is kept as a fact; longer ones are no path of any system.
const FILE_NAME_BYTES_MAX: u64 = 4_096;

/// What a list holds beside its ids.
pub(super) struct Codes {
    name: &'static str,
    role: StreamRole,
    element: ElementType,
    width: u64,
}

impl Codes {
    pub(super) fn vectors(dimension: u64) -> Self {
        Self { name: "vectors", role: StreamRole::VECTORS, element: ElementType::F32, width: dimension }
    }

    pub(super) fn binary(code_bytes: u64) -> Self {
        Self { name: "vectors", role: StreamRole::VECTORS, element: ElementType::U8, width: code_bytes }
    }

    pub(super) fn coded(code_bytes: u64) -> Self {
        Self { name: "codes", role: StreamRole::CODES, element: ElementType::U8, width: code_bytes }
    }

    fn row_bytes(&self) -> Option<u64> {
        self.width.checked_mul(u64::from(self.element.bytes()))
    }
}

/// Returns where the lists lie, or `None` when they are not in this file.
pub(super) fn read(
    reader: &mut Reader<'_>,
    list_count: u64,
    row_count: u64,
    codes: &Codes,
) -> Result<Option<ListExtent>> {
    let fourcc = reader.array::<4>("fourcc of inverted lists")?;
    match &fourcc {
        b"ilar" => read_array(reader, list_count, row_count, codes).map(Some),
        b"ilod" => read_on_disk(reader, list_count, codes).map(|()| None),
        b"il00" => {
            reader.fact("lists", "absent");
            reader.require(false, "inverted lists", || "expected lists, found the mark of missing ones".to_owned());
            Ok(None)
        }
        _ => {
            let detail = format!("expected ilar, ilod or il00, found \"{}\"", fourcc.escape_ascii());
            Err(reader.malformed("fourcc of inverted lists", detail))
        }
    }
}

/// `nlist` and `code_size` again; faiss refuses others than the index has.
fn read_shape(reader: &mut Reader<'_>, list_count: u64, codes: &Codes) -> Result<()> {
    let stored_lists = reader.u64("nlist of the lists")?;
    let stored_bytes = reader.u64("code_size of the lists")?;
    if stored_lists == list_count && Some(stored_bytes) == codes.row_bytes() {
        return Ok(());
    }
    let detail = format!(
        "expected {list_count} lists of {} × {} bytes, found {stored_lists} of {stored_bytes}",
        codes.width,
        codes.element.bytes()
    );
    Err(reader.malformed("inverted lists", detail))
}

fn read_array(reader: &mut Reader<'_>, list_count: u64, row_count: u64, codes: &Codes) -> Result<ListExtent> {
    read_shape(reader, list_count, codes)?;
    let kind = reader.array::<4>("form of the list sizes")?;
    let sparse = match &kind {
        b"full" => false,
        b"sprs" => true,
        _ => {
            return Err(
                reader.malformed("list sizes", format!("expected full or sprs, found \"{}\"", kind.escape_ascii()))
            );
        }
    };
    let width = if sparse { 2 } else { 1 };
    let sizes = reader.vector("list_sizes", StreamRole::LIST_SIZES, ElementType::U64, width)?;
    if !sparse && sizes.row_count != list_count {
        return Err(reader.malformed("list sizes", format!("expected {list_count}, found {}", sizes.row_count)));
    }
    let code_stream = reader.stream(codes.name, codes.role, codes.element, codes.width)?;
    let id_stream = reader.stream("ids", StreamRole::IDS, ElementType::I64, 1)?;
    let extent = ListExtent {
        sizes: sizes.stream.clone(),
        sparse,
        codes: code_stream.name.clone(),
        code_bytes: u64::from(code_stream.row_bytes()?),
    };
    let field = |stream: StreamSpec| FieldSpec { stream, rows: FieldRows::COUNTED, row_count_hint: row_count };
    let offset = if sparse { 8 } else { 0 };
    let counts = CountsSpec { stream: sizes.stream, offset, bytes: 8, subtract: 0, divide: 1 };
    let fields = vec![field(code_stream), field(id_stream)];
    reader.tape.groups(sizes.row_count, fields, Some(counts)).map_err(|error| error.within("inverted lists"))?;
    Ok(extent)
}

fn read_on_disk(reader: &mut Reader<'_>, list_count: u64, codes: &Codes) -> Result<()> {
    read_shape(reader, list_count, codes)?;
    for (name, width) in [("ondisk.lists", 3u64), ("ondisk.free", 2)] {
        let entries = reader.count(name, 8 * width)?;
        let Some(elements) = entries.checked_mul(width) else {
            return Err(reader.malformed(name, format!("found {entries} entries")));
        };
        if entries > 0 {
            reader.rows(name, StreamRole::LIST_SIZES, ElementType::U64, width, elements)?;
        }
    }
    let name: Vec<u8> = reader.short_vector::<1>("file name of the lists", FILE_NAME_BYTES_MAX)?.concat();
    let total = reader.u64("bytes of the lists")?;
    let name = String::from_utf8_lossy(&name).into_owned();
    reader.fact("ondisk_data", name.clone());
    reader.fact("ondisk_bytes", total);
    // faiss maps and writes to whatever the name says; nothing in this file can vouch for that.
    reader.unfit.get_or_insert_with(|| {
        Error::new(
            ErrorKind::Unsupported,
            "inverted lists",
            format!("they lie in another file, {name:?}; check that file and load the index by hand"),
        )
    });
    Ok(())
}
