//! Checked little-endian fields. Knows no format: who reads says where he is, and the error repeats it.

use crate::error::{Error, Layer, Result};

/// Reads fields from front to back; a field that runs past the end is an error, never a panic.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    layer: Layer,
    place: &'a str,
}

impl<'a> Cursor<'a> {
    /// `layer` and `place` only serve the error message.
    pub fn new(bytes: &'a [u8], layer: Layer, place: &'a str) -> Self {
        Self { bytes, position: 0, layer, place }
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `byte_count` bytes.
    ///
    /// # Errors
    /// `Damaged` at the cursor's layer when fewer remain.
    pub fn take(&mut self, byte_count: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        match rest.get(..byte_count) {
            Some(field) => {
                self.position += byte_count;
                Ok(field)
            }
            None => Err(Error::damaged(
                self.layer,
                format!("{}, byte {}", self.place, self.position),
                format!("expected {byte_count} more bytes, found {}", rest.len()),
            )),
        }
    }

    /// # Errors
    /// As `take`.
    pub fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        let mut field = [0; COUNT];
        field.copy_from_slice(self.take(COUNT)?);
        Ok(field)
    }

    /// # Errors
    /// As `take`.
    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// # Errors
    /// As `take`.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// # Errors
    /// As `take`.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// # Errors
    /// As `take`.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Passes `byte_count` reserved bytes, which must be zero.
    ///
    /// # Errors
    /// As `take`; `Damaged` for a byte that is not zero.
    pub fn reserved(&mut self, byte_count: usize) -> Result<()> {
        let start = self.position;
        match self.take(byte_count)?.iter().position(|&byte| byte != 0) {
            None => Ok(()),
            Some(offset) => Err(Error::damaged(
                self.layer,
                format!("{}, byte {}", self.place, start + offset),
                "a reserved field is not zero",
            )),
        }
    }
}

/// Appends fields; the twin of `Cursor`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Appender {
    bytes: Vec<u8>,
}

impl Appender {
    pub fn with_capacity(byte_count: usize) -> Self {
        Self { bytes: Vec::with_capacity(byte_count) }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&mut self, field: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(field);
        self
    }

    pub fn u8(&mut self, field: u8) -> &mut Self {
        self.bytes(&[field])
    }

    pub fn u16(&mut self, field: u16) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    pub fn u32(&mut self, field: u32) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    pub fn u64(&mut self, field: u64) -> &mut Self {
        self.bytes(&field.to_le_bytes())
    }

    /// Reserved fields and padding.
    pub fn zeros(&mut self, byte_count: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + byte_count, 0);
        self
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order() {
        let mut appender = Appender::default();
        appender.u8(1).u16(0x0203).u32(0x0405_0607).u64(u64::MAX - 1).zeros(3).bytes(b"end");
        assert_eq!(appender.byte_count(), 21);
        let bytes = appender.into_vec();
        assert_eq!(&bytes[1..3], &[3, 2]);
        let mut cursor = Cursor::new(&bytes, Layer::Trailer, "test");
        assert_eq!(cursor.u8().unwrap(), 1);
        assert_eq!(cursor.u16().unwrap(), 0x0203);
        assert_eq!(cursor.u32().unwrap(), 0x0405_0607);
        assert_eq!(cursor.u64().unwrap(), u64::MAX - 1);
        cursor.reserved(3).unwrap();
        assert_eq!((cursor.position(), cursor.remaining()), (18, 3));
        assert_eq!(cursor.take(3).unwrap(), b"end");
    }

    #[test]
    fn a_field_past_the_end_is_an_error_and_moves_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3], Layer::Index, "test");
        assert_eq!(cursor.u32().unwrap_err().layer(), Some(Layer::Index));
        assert!(cursor.take(usize::MAX).is_err());
        assert_eq!(cursor.u16().unwrap(), 0x0201);
    }

    #[test]
    fn a_reserved_byte_that_is_set_is_an_error() {
        assert!(Cursor::new(&[0, 0, 1], Layer::Index, "test").reserved(3).unwrap_err().place().contains("byte 2"));
    }
}
