//! Sealing and opening of blocks in place, one core; what is opened is compared before it is timed.
#![expect(clippy::unwrap_used, reason = "benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use vark_core::seal::{Binding, ObjectKey, ObjectType, Part, Secret, Suite};

const BLOCK_BYTES: usize = 420_000;

fn seal(criterion: &mut Criterion) {
    let plain: Vec<u8> = (0..BLOCK_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Bytes(BLOCK_BYTES as u64));
    for suite in Suite::ALL {
        let binding =
            Binding { suite, object_type: ObjectType::Archive, epoch: 1, repository: [1; 16], object: [2; 16] };
        let key = ObjectKey::new(&Secret::random().unwrap(), &[3; 32], &binding).unwrap();
        let part = Part::Block { stream: 0, chunk: 0 };
        let mut sealed = plain.clone();
        key.seal(part, &mut sealed).unwrap();
        assert!(key.open(part, &mut sealed.clone(), "block").unwrap() == plain);
        let mut buffer = plain.clone();
        buffer.reserve(64);
        let mut chunk = 0;
        group.bench_function(format!("{suite:?} seal"), |bencher| {
            bencher.iter(|| {
                buffer.truncate(BLOCK_BYTES);
                // Each part once: in tests and here the key looks after that.
                chunk += 1;
                key.seal(Part::Block { stream: 1, chunk }, black_box(&mut buffer)).unwrap();
            });
        });
        // Opening spoils its input, so each round pays for a copy, too.
        let mut opened = sealed.clone();
        group.bench_function(format!("{suite:?} open with a copy"), |bencher| {
            bencher.iter(|| {
                opened.copy_from_slice(&sealed);
                assert!(key.open(part, black_box(&mut opened), "block").is_ok());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, seal);
criterion_main!(benches);
