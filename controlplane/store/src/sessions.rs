//! Leases of data planes and worker processes, and what they report.
//!
//! Invariant: deadlines are set and compared by the database's clock only.

use async_trait::async_trait;
use s3o_core::ports::{PortError, Sessions};
use s3o_core::session::{BackendUsage, Hello, LEASE_SECONDS, UsageReport};
use uuid::Uuid;

use crate::Store;
use crate::error::Failure;

/// A stream that was cut and opened again is the same session.
const OPEN: &str = "
    INSERT INTO sessions (id, name, version, features, deadline)
    VALUES ($1, $2, $3, $4, now() + $5::bigint * interval '1 second')
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version,
        features = excluded.features, deadline = excluded.deadline";

const RENEW: &str = "
    UPDATE sessions SET deadline = now() + $2::bigint * interval '1 second', open_ops = $3
    WHERE id = $1 RETURNING id";

const CLOSE: &str = "UPDATE sessions SET deadline = now(), open_ops = '{}' WHERE id = $1";

/// The number is compared and set in the statement that adds: a repeat finds it set.
const ADD_USAGE: &str = "
    WITH fresh AS (
        UPDATE sessions SET usage_number = $2 WHERE id = $1 AND usage_number < $2 RETURNING id
    )
    INSERT INTO monthly_usage (month, backend, api_class, requests, ingress_bytes, egress_bytes)
    SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date, t.backend, t.class, t.requests, t.ingress, t.egress
    FROM unnest($3::int[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
         AS t (backend, class, requests, ingress, egress)
    WHERE EXISTS (SELECT FROM fresh)
    ORDER BY t.backend, t.class
    ON CONFLICT (month, backend, api_class) DO UPDATE SET
        requests = monthly_usage.requests + excluded.requests,
        ingress_bytes = monthly_usage.ingress_bytes + excluded.ingress_bytes,
        egress_bytes = monthly_usage.egress_bytes + excluded.egress_bytes";

/// Bytes are reported by backend, not by class: they are kept with the class that moves them.
const INGRESS_CLASS: &str = "put";
const EGRESS_CLASS: &str = "get";

#[derive(Default)]
struct UsageColumns {
    backends: Vec<i32>,
    classes: Vec<String>,
    requests: Vec<i64>,
    ingress: Vec<i64>,
    egress: Vec<i64>,
}

impl UsageColumns {
    fn add(&mut self, backend: i32, usage: &BackendUsage) {
        let BackendUsage { requests, ingress_bytes, egress_bytes } = usage;
        let mut classes = requests.clone();
        for (class, bytes) in [(INGRESS_CLASS, *ingress_bytes), (EGRESS_CLASS, *egress_bytes)] {
            if bytes > 0 {
                classes.entry(class.to_owned()).or_default();
            }
        }
        for (class, count) in classes {
            let bytes_of = |name: &str, bytes: u64| if class == name { signed(bytes) } else { 0 };
            self.ingress.push(bytes_of(INGRESS_CLASS, *ingress_bytes));
            self.egress.push(bytes_of(EGRESS_CLASS, *egress_bytes));
            self.backends.push(backend);
            self.requests.push(signed(count));
            self.classes.push(class);
        }
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[async_trait]
impl Sessions for Store {
    async fn open(&self, hello: Hello) -> Result<(), PortError> {
        let Hello { session, name, version, features } = hello;
        let lease = i64::from(LEASE_SECONDS);
        self.inner.leases.run(OPEN, &[&session, &name, &version, &features, &lease]).await?;
        Ok(())
    }

    async fn renew(&self, session: Uuid, open_ops: Vec<Uuid>) -> Result<(), PortError> {
        let lease = i64::from(LEASE_SECONDS);
        let renewed = self.inner.leases.run(RENEW, &[&session, &lease, &open_ops]).await?;
        if renewed.is_empty() {
            return Err(Failure::Busy(format!("session {session} is not known; open it again")).into());
        }
        Ok(())
    }

    async fn close(&self, session: Uuid) -> Result<(), PortError> {
        self.inner.leases.run(CLOSE, &[&session]).await?;
        Ok(())
    }

    async fn add_usage(&self, session: Uuid, report: UsageReport) -> Result<(), PortError> {
        let UsageReport { number, usage } = report;
        let mut columns = UsageColumns::default();
        for (backend, usage) in &usage {
            columns.add(backend.0, usage);
        }
        let UsageColumns { backends, classes, requests, ingress, egress } = columns;
        self.inner
            .general
            .run(ADD_USAGE, &[&session, &number, &backends, &classes, &requests, &ingress, &egress])
            .await?;
        Ok(())
    }

    fn database_reachable(&self) -> bool {
        self.inner.breaker.is_closed()
    }
}
