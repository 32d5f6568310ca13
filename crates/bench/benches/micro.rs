//! What the parts cost by themselves: `make bench-micro`. They say where to look, not how fast the whole is.

#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use futures::executor::block_on;
use futures::{StreamExt as _, stream};
use s3o_blob::{Algorithm, AlgorithmSet, BodyHasher, Expected, Guard};
use s3o_core::config::Routing;
use s3o_core::facts::BackendFacts;
use s3o_core::placement::{Wanted, choose};
use s3o_core::usage::Usage;
use s3o_types::storage_key::{BlobName, StorageKey};
use s3o_types::{BackendId, BackendState, Consumption, Extent, Gen, Place, UsageLimits, VersionId};

fn main() {
    divan::main();
}

const MIB: usize = 1024 * 1024;

fn body(size: usize) -> Bytes {
    (0..=u8::MAX).cycle().take(size).collect::<Vec<_>>().into()
}

/// Digests of a body of 1 MiB: what a write computes, by what the client and the backend want.
#[divan::bench(args = Algorithm::ALL.map(Algorithm::name))]
fn digest(bencher: Bencher<'_, '_>, name: &str) {
    let body = body(MIB);
    let set = Algorithm::from_name(name).map_or(AlgorithmSet::NONE, |a| AlgorithmSet::NONE.with(a));
    bencher.counter(BytesCount::new(MIB)).bench(|| {
        let mut hasher = BodyHasher::without_md5(set);
        hasher.update(black_box(&body));
        hasher.finish()
    });
}

/// The guard over a body in chunks of 64 KiB, with the MD5 and with the CRC that takes its place.
#[divan::bench(args = [4096, MIB], consts = [false, true])]
fn guard<const SKIP_MD5: bool>(bencher: Bencher<'_, '_>, size: usize) {
    let body = body(size);
    bencher.counter(BytesCount::new(size)).bench(|| {
        let chunks: Vec<_> =
            body.chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(body.slice_ref(chunk))).collect();
        let (mut guard, verdict) = Guard::new(stream::iter(chunks), Expected::of_size(size as u64));
        assert_eq!(guard.skip_md5(SKIP_MD5), SKIP_MD5);
        block_on(async { while guard.next().await.is_some() {} });
        verdict
    });
}

fn backends(count: usize) -> Vec<BackendFacts> {
    let one = |n: usize| BackendFacts {
        id: BackendId(i32::try_from(n).unwrap()),
        place: Place::from_number(1),
        state: BackendState::Active,
        attached: true,
        priority: 0,
        position: i32::try_from(n).unwrap(),
        quota_bytes: Some(1 << 40),
        max_object_size: None,
        usage: Usage { used: i64::try_from(n).unwrap() << 20, ..Usage::default() },
        limits: UsageLimits::default(),
        month: Consumption::default(),
    };
    (0..count).map(one).collect()
}

/// Choosing two of so many backends.
#[divan::bench(args = [3, 16, 64])]
fn placement(bencher: Bencher<'_, '_>, count: usize) {
    let backends = backends(count);
    let wanted = Wanted { size: 4096, down: &[BackendId(1)], prefer: &[], exclude: &[], spare: 0, count: 2 };
    bencher.bench(|| choose(black_box(&backends), Routing::Spread, wanted).unwrap());
}

/// A storage key there and back.
#[divan::bench(args = ["photos/2026/11/cat.jpg", "a//../b"])]
fn storage_key(bencher: Bencher<'_, '_>, key: &str) {
    let blob = BlobName {
        version: VersionId::from_uuid(uuid::Uuid::from_u128(7)),
        extent: Extent::ZERO,
        r#gen: Gen::ZERO,
    };
    bencher.bench(|| StorageKey::parse(&StorageKey::format("bucket", black_box(key), blob)));
}
