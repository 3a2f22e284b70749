//! The core alone, from the signature to the request for Amplitude, beside its floor: one HMAC-SHA256 over the body and
//! one copy of it. `cargo bench --no-default-features --bench core` measures time.

// A measurement that fails must stop, and nothing here is a public API.
#![allow(clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod work;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use crate::work::{SIZES, Work};

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    for size in SIZES {
        let work = Work::new(size);
        let size = work.size();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("floor", size), |bencher| bencher.iter(|| work.floor()));
        group.bench_function(BenchmarkId::new("core", size), |bencher| bencher.iter(|| work.core()));
    }
    group.finish();
}

criterion_group!(benches, core);
criterion_main!(benches);
