//! Rows by SQL, as PUTs would have left them: random-looking keys in nested prefixes, an index with the
//! room that random inserts leave.
//!
//! Invariant: sequences stand behind what was generated, so that real writes go on from there.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::stack::{BUCKET, Stack};

/// What all generated keys begin with.
pub(super) const PREFIX: &str = "gen";

/// Keys `gen/abc/de/…`: 4,096 prefixes at the first level, all of them in use from 10,000 keys on.
/// $1 bucket, $2 and $3 the first and last number.
const OBJECTS: &str = "
    INSERT INTO objects (bucket, key, seq, version, size, etag, modified)
    SELECT $1::int, 'gen/' || substr(h, 1, 3) || '/' || substr(h, 4, 2) || '/' || substr(h, 6), n,
           (lpad(to_hex(n), 16, '0') || substr(h, 1, 16))::uuid, 4096, h, now()
    FROM generate_series($2::bigint, $3::bigint) AS n, LATERAL (SELECT md5('s3o' || n) AS h) AS hashed";

/// Theirs; $4 backend.
const COPIES: &str = "
    INSERT INTO copies (version, extent, backend, gen, bucket, key, state, stored_size, backend_etag)
    SELECT (lpad(to_hex(n), 16, '0') || substr(h, 1, 16))::uuid, 0, $4::int, 0, $1::int,
           'gen/' || substr(h, 1, 3) || '/' || substr(h, 4, 2) || '/' || substr(h, 6), 'verified', 4096, h
    FROM generate_series($2::bigint, $3::bigint) AS n, LATERAL (SELECT md5('s3o' || n) AS h) AS hashed";

/// Random inserts leave the pages of a B-tree about 69 % full (ln 2).
const INDEX: &str =
    "ALTER TABLE objects ADD CONSTRAINT objects_pkey PRIMARY KEY (bucket, key) WITH (fillfactor = 69)";

/// Adds rows from `there` to `wanted`; with their copies where they are to be written to as well.
pub(super) async fn up_to(stack: &Stack, there: u64, wanted: u64, copies: bool) -> Result<()> {
    ensure!(wanted >= 10_000 && wanted > there, "--objects: ascending numbers from 10000 on");
    let began = Instant::now();
    eprintln!("generating {} rows", wanted - there);
    let sql = stack.sql().await?;
    let bucket: i32 = sql.query_one("SELECT id FROM buckets WHERE name = $1", &[&BUCKET]).await?.get(0);
    let backend: i32 = sql.query_one("SELECT min(id) FROM backends", &[]).await?.get(0);
    let (from, to) = (i64::try_from(there)? + 1, i64::try_from(wanted)?);
    sql.batch_execute(
        "SET synchronous_commit = off; SET maintenance_work_mem = '512MB'; \
         ALTER TABLE objects DROP CONSTRAINT objects_pkey",
    )
    .await?;
    sql.execute(OBJECTS, &[&bucket, &from, &to]).await.context("generating objects")?;
    sql.batch_execute(INDEX).await.context("the primary key")?;
    if copies {
        sql.execute(COPIES, &[&bucket, &from, &to, &backend]).await.context("generating copies")?;
    }
    for sequence in ["version_seq", "change_seq"] {
        let forward = format!("SELECT setval('{sequence}', greatest(nextval('{sequence}'), $1::bigint))");
        sql.execute(forward.as_str(), &[&(to + 1)]).await?;
    }
    sql.batch_execute("VACUUM ANALYZE objects").await?;
    sql.batch_execute("VACUUM ANALYZE copies").await?;
    sql.batch_execute("CHECKPOINT").await?;
    eprintln!("generated in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}
