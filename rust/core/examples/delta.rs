//! Times a delta and its restore, for profilers: `delta BASE.vark NEW_SOURCE ROUNDS`. BASE was written with the key of zeros.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool of developers")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use vark_core::pipeline::delta::{Base, FingerprintKey};
use vark_core::pipeline::open::{Places, open_archive};
use vark_core::pipeline::pack::{Input, MemberInput, Output, PackOptions, pack};
use vark_core::pipeline::restore::{RestoreOptions, restore};
use vark_core::pipeline::rows::RowReader;
use vark_core::split::Layout;
use vark_core::testing::pack_options;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (base, source, rounds) = (&arguments[1], &arguments[2], arguments[3].parse::<usize>().unwrap());
    let key = FingerprintKey([0; 32]);
    let target = PathBuf::from(format!("{base}.delta"));
    let pack_to = |target: &PathBuf, base: Option<Base>| {
        let input = Input::File(PathBuf::from(source));
        let facts = serde_json::Map::new();
        let mut members = [MemberInput { name: "source".to_owned(), input, layout: Layout::Auto, facts }];
        let options = PackOptions {
            base,
            fingerprint_key: Some(key),
            archive_id: None,
            threads: 0,
            memory_bytes: 256 << 20,
            ..pack_options()
        };
        let output = Output::Path { path: target.clone(), replace: true, sync: false };
        pack(output, &mut members, &mut [], &options, &mut |_, _| Ok(())).unwrap()
    };
    if !PathBuf::from(base).exists() {
        pack_to(&PathBuf::from(base), None);
        return;
    }
    let opened = |path: &PathBuf, places: &Places| {
        let (archive, _) = open_archive(&[path.clone().into()], places).unwrap();
        Arc::new(RowReader::new(archive, 64 << 20))
    };
    for _ in 0..rounds {
        let start = Instant::now();
        let reader = opened(&PathBuf::from(base), &Places::new());
        let id = reader.archive().id().to_string();
        let report = pack_to(&target, Some(Base { reader, key: Some(key) }));
        println!("delta {:.3} s, {} bytes", start.elapsed().as_secs_f64(), report.archive_bytes);
        let places = Places::from([(id, vec![PathBuf::from(base).into()])]);
        let start = Instant::now();
        let options = RestoreOptions {
            replace: true,
            sync: false,
            threads: 0,
            memory_bytes: 256 << 20,
            max_bytes: None,
            resume: false,
        };
        let out = PathBuf::from(format!("{base}.out"));
        restore(&opened(&target, &places), &out, None, &options, &mut |_, _| Ok(())).unwrap();
        println!("restore {:.3} s", start.elapsed().as_secs_f64());
    }
}
