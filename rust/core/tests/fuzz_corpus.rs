//! Replays the corpus of the fuzz targets: crashes once found stay fixed, without a nightly compiler.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use vark_core::testing::TARGETS;

#[test]
fn no_input_of_the_corpus_breaks_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut total = 0;
    for (name, body) in TARGETS {
        let mut inputs: Vec<_> =
            std::fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        for input in &inputs {
            let bytes = std::fs::read(input).unwrap();
            if let Err(cause) = std::panic::catch_unwind(|| body(&bytes)) {
                eprintln!("{} breaks {name}", input.display());
                std::panic::resume_unwind(cause);
            }
        }
        println!("{name}: {} inputs", inputs.len());
        assert!(!inputs.is_empty(), "no corpus for {name}");
        total += inputs.len();
    }
    println!("{total} inputs in all");
}
