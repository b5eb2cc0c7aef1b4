//! Arguments of `pack` as owned values of the core.

use crate::buffers::{BufferSource, duplicate};
use crate::errors::{invalid, to_py};
use pyo3::prelude::*;
use serde_json::{Map, Value};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use vark_core::error::Layer;
use vark_core::pipeline::pack::{Input, MemberInput, StreamInput};
use vark_core::split::Layout;
use vark_core::store::ReadAt;
use vark_core::store::file::Parts;
use vark_core::stream::{ElementType, StreamRole, StreamSpec};

pub type BytesArgument<'py> = (String, Bound<'py, PyAny>);

pub fn input((kind, value): &BytesArgument<'_>) -> PyResult<Input> {
    match kind.as_str() {
        "file" => Ok(Input::File(value.extract::<PathBuf>()?)),
        "buffers" => {
            let mut parts: Vec<Box<dyn ReadAt>> = Vec::new();
            for buffer in value.try_iter()? {
                parts.push(Box::new(BufferSource::new(&buffer?)?));
            }
            Ok(Input::Shared(Arc::new(Parts::new(parts))))
        }
        "pipe" => Ok(Input::Pipe(Some(Box::new(File::from(duplicate(value.extract()?)?))))),
        other => Err(invalid("source", format!("kind {other:?}; expected \"file\", \"buffers\" or \"pipe\""))),
    }
}

pub fn member(argument: &(String, BytesArgument<'_>, String, String)) -> PyResult<MemberInput> {
    let (name, bytes, layout_name, facts) = argument;
    Ok(MemberInput { name: name.clone(), input: input(bytes)?, layout: layout(layout_name)?, facts: object(facts)? })
}

pub fn stream(argument: &(String, String, String, u32, BytesArgument<'_>)) -> PyResult<StreamInput> {
    let (name, role, element_type, row_elements, bytes) = argument;
    let role = StreamRole::from_name(role).ok_or_else(|| invalid("stream role", format!("{role:?} is unknown")))?;
    let element_type = ElementType::from_name(element_type)
        .ok_or_else(|| invalid("element type", format!("{element_type:?} is unknown")))?;
    Ok(StreamInput { spec: StreamSpec::new(name, role, element_type, *row_elements), input: input(bytes)? })
}

pub fn layout(name: &str) -> PyResult<Layout> {
    Layout::from_name(name).ok_or_else(|| {
        invalid("layout", format!("{name:?}; expected auto, opaque, faiss, hnswlib, npy, usearch or diskann"))
    })
}

pub fn object(text: &str) -> PyResult<Map<String, Value>> {
    let value = vark_core::archive::metadata::parse_strict(text, Layer::Metadata);
    match value.map_err(|error| invalid("JSON", error.detail()))? {
        Value::Object(map) => Ok(map),
        _ => Err(to_py(&vark_core::error::Error::malformed("JSON", "expected an object"))),
    }
}
