//! Arrays in numpy's `.npy` files, versions 1 to 3, C order, little-endian.
//!
//! `\x93NUMPY` · version u8, u8 · header length u16 (version 1) or u32 · a Python literal of a dict with exactly
//! `descr`, `fortran_order`, `shape`, padded with blanks and ended by a newline · the elements.

use super::reader::Reader;
use crate::error::Result;
use crate::stream::{ElementType, StreamRole};

pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// numpy's own limit for headers it evaluates is 10,000; longer ones are hostile.
const HEADER_BYTES_MAX: usize = 65_536;
const DIMENSIONS_MAX: usize = 32;

/// Parses a whole file; returns the layout name.
pub(super) fn parse(reader: &mut Reader<'_>) -> Result<String> {
    let start = reader.array::<8>("magic")?;
    if start[..6] != *MAGIC || !(1..=3).contains(&start[6]) || start[7] != 0 {
        return Err(
            reader.malformed("magic", format!("expected \\x93NUMPY of version 1 to 3, found {}", start.escape_ascii()))
        );
    }
    let length = if start[6] == 1 {
        u32::from(u16::from_le_bytes(reader.array("header length")?))
    } else {
        reader.u32("header length")?
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= HEADER_BYTES_MAX);
    let length =
        length.ok_or_else(|| reader.malformed("header length", format!("expected at most {HEADER_BYTES_MAX}")))?;
    let mut text = vec![0u8; length];
    reader.tape.literal(&mut text)?;
    let Some(header) = Literal { rest: &text }.header() else {
        return Err(reader.malformed("header", "expected a dict of descr, fortran_order and shape; found another text"));
    };
    read_rows(reader, &header)?;
    Ok("npy".to_owned())
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

fn read_rows(reader: &mut Reader<'_>, header: &Header) -> Result<()> {
    let Some((element, scale)) = element_of(&header.descr) else {
        return Err(
            reader.malformed("descr", format!("expected a little-endian number type, found '{}'", header.descr))
        );
    };
    let [row_count, inner @ ..] = header.shape.as_slice() else {
        return Err(reader.malformed("shape", "expected at least one dimension, found a scalar"));
    };
    if header.fortran_order {
        return Err(reader.malformed("fortran_order", "expected rows in C order, found columns"));
    }
    let width = inner.iter().try_fold(scale, |width, size| width.checked_mul(*size));
    let elements = width.and_then(|width| width.checked_mul(*row_count));
    let (Some(width), Some(elements)) = (width, elements) else {
        return Err(reader.malformed("shape", format!("expected an array that fits a file, found {:?}", header.shape)));
    };
    reader.fact("dtype", header.descr.clone());
    reader.fact("shape", header.shape.clone());
    if width == 0 {
        return Ok(());
    }
    let kind = header.descr.as_bytes().get(1).copied().unwrap_or_default();
    let (name, role) = match kind {
        b'b' | b'S' => ("rows", StreamRole::OPAQUE),
        b'i' | b'u' if inner.is_empty() => ("ids", StreamRole::IDS),
        _ => ("vectors", StreamRole::VECTORS),
    };
    reader.rows(name, role, element, width, elements)?;
    Ok(())
}

/// Element type and elements an item of a numpy dtype string.
fn element_of(descr: &str) -> Option<(ElementType, u64)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let element = match kind {
        "i1" => ElementType::I8,
        "u1" | "b1" => ElementType::U8,
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        "i2" => ElementType::I16,
        "i4" => ElementType::I32,
        "i8" => ElementType::I64,
        "u2" => ElementType::U16,
        "u4" => ElementType::U32,
        "u8" => ElementType::U64,
        _ => {
            let digits = kind.strip_prefix('S').filter(|_| order == "|")?;
            return digits.bytes().all(|byte| byte.is_ascii_digit()).then_some((ElementType::U8, digits.parse().ok()?));
        }
    };
    // One byte has no order; numpy writes `|` for it.
    (order == "<" || (order == "|" && element.bytes() == 1)).then_some((element, 1))
}

/// The few forms of Python literals that such a header may hold; nothing is evaluated.
struct Literal<'a> {
    rest: &'a [u8],
}

impl Literal<'_> {
    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take(&mut self, token: &[u8]) -> Option<()> {
        self.skip_blanks();
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn text(&mut self) -> Option<String> {
        self.skip_blanks();
        let (quote, rest) = self.rest.split_first().filter(|(quote, _)| matches!(quote, b'\'' | b'"'))?;
        let end = rest.iter().position(|byte| byte == quote)?;
        let text = rest.get(..end)?;
        let plain = text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
        self.rest = rest.get(end + 1..)?;
        plain.then(|| String::from_utf8_lossy(text).into_owned())
    }

    fn number(&mut self) -> Option<u64> {
        self.skip_blanks();
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        // Headers written by Python 2 mark long integers.
        self.rest = rest.strip_prefix(b"L").unwrap_or(rest);
        Some(number)
    }

    fn truth(&mut self) -> Option<bool> {
        if self.take(b"True").is_some() {
            return Some(true);
        }
        self.take(b"False").map(|()| false)
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        self.take(b"(")?;
        let mut sizes = Vec::new();
        while self.take(b")").is_none() {
            if sizes.len() == DIMENSIONS_MAX {
                return None;
            }
            sizes.push(self.number()?);
            if self.take(b",").is_none() {
                // `(3)` is a number, not a tuple.
                self.take(b")").filter(|()| sizes.len() > 1)?;
                break;
            }
        }
        Some(sizes)
    }

    fn header(mut self) -> Option<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.take(b"{")?;
        while self.take(b"}").is_none() {
            let key = self.text()?;
            self.take(b":")?;
            match key.as_str() {
                "descr" if descr.is_none() => descr = Some(self.text()?),
                "fortran_order" if fortran_order.is_none() => fortran_order = Some(self.truth()?),
                "shape" if shape.is_none() => shape = Some(self.shape()?),
                _ => return None,
            }
            if self.take(b",").is_none() {
                self.take(b"}")?;
                break;
            }
        }
        let ended = self.rest.strip_suffix(b"\n").is_some_and(|padding| padding.iter().all(|byte| *byte == b' '));
        if !ended {
            return None;
        }
        Some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}
