//! What a parser holds while it walks a tape: small fields, names given, facts found, and what makes an
//! index unfit to load although its bytes can be split.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Tape;
use super::walk::Walk;
use crate::error::{Error, ErrorKind, Result};
use crate::stream::{ElementType, StreamRole, StreamSpec};

/// An archive holds 256 streams of all members together; one file may not take them all.
const STREAMS_OF_A_FILE_MAX: usize = 128;

pub(super) struct Reader<'a> {
    pub(super) tape: &'a mut dyn Tape,
    /// Goes before names of streams and facts (`quantizer.`).
    pub(super) prefix: String,
    names: HashSet<String>,
    pub(super) facts: Map<String, Value>,
    /// The first fault that splitting survives and loading does not.
    pub(super) unfit: Option<Error>,
    /// What must be looked at in the streams before a library loads the file.
    pub(super) walks: Vec<Walk>,
    /// Labels that the index now parsed returns are used by its owner as numbers below this.
    pub(super) label_bound: Option<u64>,
    pub(super) depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tape: &'a mut dyn Tape) -> Self {
        Self {
            tape,
            prefix: String::new(),
            names: HashSet::new(),
            facts: Map::new(),
            unfit: None,
            walks: Vec::new(),
            label_bound: None,
            depth: 0,
        }
    }

    /// A fault at the present position.
    pub(super) fn malformed(&self, what: &str, detail: impl Into<String>) -> Error {
        Error::malformed(format!("{}{what}, before byte {}", self.prefix, self.tape.position()), detail)
    }

    /// Keeps the first fault that makes the index unfit to load.
    pub(super) fn require(&mut self, holds: bool, what: &str, detail: impl FnOnce() -> String) {
        if !holds && self.unfit.is_none() {
            self.unfit = Some(self.malformed(what, detail()));
        }
    }

    /// `expected` and `found` must agree for the index to be loaded.
    pub(super) fn require_equal(&mut self, what: &str, expected: u64, found: u64) {
        self.require(expected == found, what, || format!("expected {expected}, found {found}"));
    }

    /// The outermost index wins: a wrapper says what a user calls the dimension.
    pub(super) fn fact(&mut self, key: &str, value: impl Into<Value>) {
        self.facts.entry(format!("{}{key}", self.prefix)).or_insert_with(|| value.into());
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0u8; N];
        self.tape.literal(&mut bytes).map_err(|error| error.within(what))?;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn i32(&mut self, what: &str) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(super) fn f32(&mut self, what: &str) -> Result<f32> {
        Ok(f32::from_le_bytes(self.array(what)?))
    }

    /// A C++ `bool`: other values than 0 and 1 split well, but faiss refuses them.
    pub(super) fn flag(&mut self, what: &str) -> Result<bool> {
        let byte = self.u8(what)?;
        self.require(byte <= 1, what, || format!("expected 0 or 1, found {byte}"));
        Ok(byte != 0)
    }

    /// A number of elements of `element_bytes`, compared with what is left before anyone multiplies.
    pub(super) fn count(&mut self, what: &str, element_bytes: u64) -> Result<u64> {
        let count = self.u64(what)?;
        match self.tape.remaining() {
            Some(left) if count > left / element_bytes.max(1) => {
                Err(self
                    .malformed(what, format!("expected {count} elements of {element_bytes} bytes; found {left} bytes")))
            }
            _ => Ok(count),
        }
    }

    /// A short vector that the parser itself needs, read as literal bytes.
    pub(super) fn short_vector<const N: usize>(&mut self, what: &str, most: u64) -> Result<Vec<[u8; N]>> {
        let count = self.count(what, N as u64)?;
        if count > most {
            return Err(self.malformed(what, format!("expected at most {most} elements, found {count}")));
        }
        (0..count).map(|_| self.array::<N>(what)).collect()
    }

    /// A new stream named after the prefix; a name in use gets a number.
    pub(super) fn stream(
        &mut self,
        base: &str,
        role: StreamRole,
        element: ElementType,
        width: u64,
    ) -> Result<StreamSpec> {
        if self.names.len() >= STREAMS_OF_A_FILE_MAX {
            return Err(self.malformed(base, format!("expected at most {STREAMS_OF_A_FILE_MAX} streams in a file")));
        }
        let plain = format!("{}{base}", self.prefix);
        let mut name = plain.clone();
        let mut number = 2u32;
        while !self.names.insert(name.clone()) {
            name = format!("{plain}.{number}");
            number += 1;
        }
        let spec = StreamSpec::new(name, role, element, u32::try_from(width).unwrap_or(0));
        match spec.row_bytes() {
            Ok(_) => Ok(spec),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                Err(self.malformed(base, format!("expected rows of 1 byte to 256 MiB, found {width} elements")))
            }
            Err(error) => Err(error),
        }
    }

    /// A stream of `element_count` elements in rows of `width`.
    pub(super) fn rows(
        &mut self,
        base: &str,
        role: StreamRole,
        element: ElementType,
        width: u64,
        element_count: u64,
    ) -> Result<Vector> {
        if width == 0 || !element_count.is_multiple_of(width) {
            return Err(self
                .malformed(base, format!("expected whole rows of {width} elements, found {element_count} elements")));
        }
        let spec = self.stream(base, role, element, width)?;
        let vector = Vector { stream: spec.name.clone(), row_count: element_count / width, element_count };
        self.tape.rows(spec, vector.row_count).map_err(|error| error.within(&vector.stream))?;
        Ok(vector)
    }

    /// A faiss vector: u64 count of elements, then the elements.
    pub(super) fn vector(&mut self, base: &str, role: StreamRole, element: ElementType, width: u64) -> Result<Vector> {
        let count = self.count(base, u64::from(element.bytes()))?;
        self.rows(base, role, element, width, count)
    }

    /// As `vector`, in rows of `width` where that divides the count, else one element a row; no stream when empty.
    pub(super) fn parameter(
        &mut self,
        base: &str,
        role: StreamRole,
        element: ElementType,
        width: u64,
    ) -> Result<Vector> {
        let count = self.count(base, u64::from(element.bytes()))?;
        if count == 0 {
            return Ok(Vector { stream: String::new(), row_count: 0, element_count: 0 });
        }
        let width = if width > 0 && count.is_multiple_of(width) { width } else { 1 };
        self.rows(base, role, element, width, count)
    }
}

pub(super) struct Vector {
    pub(super) stream: String,
    pub(super) row_count: u64,
    pub(super) element_count: u64,
}
