//! The binding: convert → release the GIL → call the core → convert. No logic lives here.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "memory and descriptors lent by Python; the binding's only unsafe")]
mod buffers;
mod erase;
mod errors;
mod inputs;
mod keygen;
mod keyring;
mod pack;
mod progress;
mod reader;
mod secrets;
mod volumes;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("debug_build", cfg!(debug_assertions))?;
    module.add_class::<reader::Reader>()?;
    module.add_class::<reader::Stream>()?;
    module.add_class::<keyring::OpenKeyring>()?;
    module.add_class::<keyring::NewRecord>()?;
    module.add_class::<keyring::Signer>()?;
    module.add_function(wrap_pyfunction!(erase::id_hashes, module)?)?;
    module.add_function(wrap_pyfunction!(erase::survey, module)?)?;
    module.add_function(wrap_pyfunction!(erase::erase_rows, module)?)?;
    module.add_function(wrap_pyfunction!(keygen::new_identity, module)?)?;
    module.add_function(wrap_pyfunction!(pack::pack, module)?)?;
    module.add_function(wrap_pyfunction!(pack::plan_file, module)?)?;
    module.add_function(wrap_pyfunction!(pack::blake3, module)?)?;
    module.add_function(wrap_pyfunction!(pack::blake3_pieces, module)?)?;
    module.add_function(wrap_pyfunction!(secrets::new_recovery_code, module)?)?;
    module.add_function(wrap_pyfunction!(reader::verify_path, module)?)?;
    module.add_function(wrap_pyfunction!(reader::verify_rows, module)?)
}
