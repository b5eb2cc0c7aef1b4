//! Transforms of vectors before they reach an index; each ends with `d_in` i32 · `d_out` i32 · `is_trained` u8.
//!
//! Linear ones (`LTra`, `rrot`, `Pcam`, `PcAm`, `PCAm`, `Viqm`) end their own fields with have_bias u8 · A vec<f32>
//! (d_out rows of d_in) · b vec<f32>. Before that, `Pcam`: eigen_power f32 · epsilon f32 · random_rotation u8 ·
//! balanced_bins i32 · mean, eigenvalues, PCAMat vec<f32>; `PcAm` has no epsilon, `PCAm` neither epsilon nor
//! balanced_bins. `Viqm`: max_iter i32 · seed i32. Others: `RmDT`: vec<i32> of input columns (−1: zero).
//! `VNrm`: norm f32. `VCnt`: mean vec<f32>. `HRot`: seed u32.
//! `Viqt`: mean vec<f32> · do_pca u8 · a whole `Viqm` · a whole linear transform.

use super::Reader;
use crate::error::Result;
use crate::split::walk::Walk;
use crate::stream::{ElementType, StreamRole};

pub(super) struct Transform {
    pub(super) fourcc: String,
    pub(super) input: u64,
    pub(super) output: u64,
}

const F32: ElementType = ElementType::F32;

/// What must hold once the dimensions at the end of the record are known.
#[derive(Default)]
struct Sizes {
    /// Numbers that must cover d_in, d_out, or d_in × d_out.
    input: Option<u64>,
    output: Option<u64>,
    matrix: Option<u64>,
    same: bool,
    power_of_two: bool,
    remap: Option<String>,
}

/// `dimension` is what enters: the matrices come before their own `d_in`, and rows want a width.
pub(super) fn read(reader: &mut Reader<'_>, dimension: u64) -> Result<Transform> {
    let fourcc = reader.array::<4>("fourcc of a transform")?;
    if &fourcc == b"Viqt" {
        return read_quantizing(reader, dimension);
    }
    read_plain(reader, &fourcc, dimension)
}

fn read_plain(reader: &mut Reader<'_>, fourcc: &[u8; 4], dimension: u64) -> Result<Transform> {
    let mut sizes = Sizes::default();
    match fourcc {
        b"LTra" | b"rrot" => read_linear(reader, dimension, &mut sizes)?,
        b"Pcam" | b"PcAm" | b"PCAm" => {
            read_components(reader, fourcc, dimension)?;
            read_linear(reader, dimension, &mut sizes)?;
        }
        b"Viqm" => {
            reader.i32("max_iter")?;
            reader.i32("seed")?;
            read_linear(reader, dimension, &mut sizes)?;
        }
        b"RmDT" => {
            let map = reader.parameter("map", StreamRole::TRANSFORM, ElementType::I32, 1)?;
            sizes.output = Some(map.element_count);
            sizes.remap = Some(map.stream).filter(|_| map.element_count > 0);
        }
        b"VNrm" => {
            reader.f32("norm")?;
            sizes.same = true;
        }
        b"VCnt" => {
            sizes.input = Some(reader.parameter("mean", StreamRole::TRANSFORM, F32, dimension)?.element_count);
            sizes.same = true;
        }
        b"HRot" => {
            reader.u32("seed")?;
            sizes.power_of_two = true;
        }
        _ => {
            let detail = format!("expected a transform of faiss, found \"{}\"", fourcc.escape_ascii());
            return Err(reader.malformed("fourcc of a transform", detail));
        }
    }
    finish(reader, fourcc, sizes)
}

fn read_linear(reader: &mut Reader<'_>, dimension: u64, sizes: &mut Sizes) -> Result<()> {
    let has_bias = reader.flag("have_bias")?;
    sizes.matrix = Some(reader.parameter("A", StreamRole::TRANSFORM, F32, dimension)?.element_count);
    let bias = reader.parameter("b", StreamRole::TRANSFORM, F32, 1)?.element_count;
    sizes.output = has_bias.then_some(bias);
    Ok(())
}

fn read_components(reader: &mut Reader<'_>, fourcc: &[u8; 4], dimension: u64) -> Result<()> {
    reader.f32("eigen_power")?;
    if fourcc == b"Pcam" {
        reader.f32("epsilon")?;
    }
    reader.flag("random_rotation")?;
    if fourcc != b"PCAm" {
        reader.i32("balanced_bins")?;
    }
    for name in ["mean", "eigenvalues", "PCAMat"] {
        reader.parameter(name, StreamRole::TRANSFORM, F32, dimension)?;
    }
    Ok(())
}

/// `Viqt`: two linear transforms in one; faiss applies only the second, and the mean.
fn read_quantizing(reader: &mut Reader<'_>, dimension: u64) -> Result<Transform> {
    let outer = reader.prefix.clone();
    let mean = reader.parameter("mean", StreamRole::TRANSFORM, F32, dimension)?.element_count;
    reader.flag("do_pca")?;
    let mut inner = Vec::new();
    for name in ["itq.", "pca_then_itq."] {
        let fourcc = reader.array::<4>("fourcc of an inner transform")?;
        let linear = matches!(&fourcc, b"LTra" | b"rrot" | b"Pcam" | b"PcAm" | b"PCAm" | b"Viqm");
        if !linear || (name == "itq." && &fourcc != b"Viqm") {
            let detail = format!("expected a linear transform, found \"{}\"", fourcc.escape_ascii());
            return Err(reader.malformed("fourcc of an inner transform", detail));
        }
        reader.prefix = format!("{outer}{name}");
        inner.push(read_plain(reader, &fourcc, dimension)?);
    }
    reader.prefix = outer;
    let transform = finish(reader, b"Viqt", Sizes { input: Some(mean), ..Sizes::default() })?;
    if let Some(applied) = inner.last() {
        reader.require_equal("d_in of the inner transform", transform.input, applied.input);
        reader.require_equal("d_out of the inner transform", transform.output, applied.output);
    }
    Ok(transform)
}

fn finish(reader: &mut Reader<'_>, fourcc: &[u8; 4], sizes: Sizes) -> Result<Transform> {
    let input = reader.i32("d_in")?;
    let output = reader.i32("d_out")?;
    reader.flag("is_trained of a transform")?;
    let (Ok(input), Ok(output)) = (u64::try_from(input), u64::try_from(output)) else {
        return Err(
            reader.malformed("transform", format!("expected d_in and d_out of 0 or more, found {input} and {output}"))
        );
    };
    // Both are below 2^31, so the product cannot overflow.
    let fits = sizes.input.is_none_or(|count| count >= input)
        && sizes.output.is_none_or(|count| count >= output)
        && sizes.matrix.is_none_or(|count| count >= input * output)
        && (!sizes.same || input == output)
        && (!sizes.power_of_two || (input > 0 && output == input.next_power_of_two()));
    reader.require(fits, "transform", || {
        format!("expected as many numbers as {input} × {output} dimensions need; found others")
    });
    if let Some(stream) = sizes.remap {
        reader.walks.push(Walk::Columns { stream, bound: input });
    }
    Ok(Transform { fourcc: fourcc.escape_ascii().to_string(), input, output })
}
