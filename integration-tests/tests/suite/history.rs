//! A minute of everything, through two data planes, with kills: what clients saw must be linearizable.

use std::time::Duration;

use anyhow::{Result, ensure};
use s3o_integration_tests::workload::Workload;
use s3o_integration_tests::{Cluster, Options};
use s3o_testkit::history::{Outcome, Verdict, check};

const KEYS: [&str; 4] = ["hot/a", "hot/b", "hot/c", "hot/d"];
const CLIENTS: usize = 8;

async fn run(cluster: &mut Cluster, seconds: u64, kills: bool) -> Result<Workload> {
    let workload = Workload::new(s3o_integration_tests::config::BUCKET, &KEYS);
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        let client = cluster.impatient(n % 2, Duration::from_secs(30));
        clients.spawn(workload.clone().client(format!("c{n}"), client));
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut round = 0_usize;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if kills {
            match round % 3 {
                0 => cluster.restart_data_plane(round / 3 % 2).await?,
                1 => {
                    cluster.control[round / 3 % 2].process.kill()?;
                    cluster.start_control_plane(round / 3 % 2).await?;
                }
                _ => cluster.data[0]
                    .links
                    .iter()
                    .chain(&cluster.data[1].links)
                    .for_each(s3o_integration_tests::Proxy::cut),
            }
            round += 1;
        }
    }
    workload.stop();
    clients.join_all().await;
    Ok(workload)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_everything_is_linearizable() -> Result<()> {
    let mut options = Options { control_planes: 2, data_planes: 2, ..Options::default() };
    options.times.worker_interval_s = 1;
    let mut cluster = Cluster::start(options).await?;
    let workload = run(&mut cluster, 60, true).await?;
    s3o_integration_tests::settle::settle(&cluster).await?;
    workload.read_all(&cluster.s3(0)).await;
    let events = workload.recorder.events();
    let known = events.iter().filter(|event| event.outcome != Outcome::Unknown).count();
    eprintln!("{} calls, {known} with a known outcome", events.len());
    ensure!(known > 500, "only {known} of {} calls had an outcome", events.len());
    match check(&events) {
        Verdict::Linearizable { .. } => {}
        verdict => anyhow::bail!("{verdict:?}"),
    }
    cluster.finish().await
}

/// The same clients against a system that is made to break its word: the checker must notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_defect_is_found() -> Result<()> {
    let mut cluster = Cluster::start(Options { data_planes: 2, ..Options::default() }).await?;
    // From now on the database forgets every third overwrite, and nobody is told.
    cluster
        .sql()
        .await?
        .batch_execute(
            "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.seq % 3 = 0 THEN NEW.etag := OLD.etag; NEW.size := OLD.size; END IF; RETURN NEW; END $$;
             CREATE TRIGGER forget BEFORE UPDATE ON objects FOR EACH ROW EXECUTE FUNCTION forget();",
        )
        .await?;
    let workload = run(&mut cluster, 10, false).await?;
    let verdict = check(&workload.recorder.events());
    ensure!(matches!(verdict, Verdict::Violation { .. }), "{verdict:?}");
    cluster.pass();
    Ok(())
}
