//! The fault campaign's checks, tried: each of them can fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::audit;
use s3o_integration_tests::campaign::Campaign;
use s3o_integration_tests::campaign::checks::Violation;
use s3o_integration_tests::campaign::plan::Plan;
use s3o_testkit::history::{Call, Outcome};

/// A few seconds of clients, without faults.
async fn calm() -> Result<Campaign> {
    let plan = Plan {
        length: Duration::from_secs(4),
        seed: 1,
        kinds: vec![],
        at_once: 0,
        out: std::env::temp_dir(),
    };
    let mut campaign = Campaign::start(plan).await?;
    let found = campaign.run().await?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(campaign)
}

fn has(found: &[Violation], check: &str, part: &str) -> bool {
    found.iter().any(|violation| violation.check == check && violation.what.contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_behind_the_systems_back_is_found() -> Result<()> {
    let campaign = calm().await?;
    let found = campaign.check().await?;
    ensure!(found.is_empty(), "{found:?}");
    let field = campaign.field();
    let copies = audit::copies_of_objects(&field.cluster).await?;
    let copy = copies.iter().find(|copy| copy.name.starts_with("every/")).context("an object")?;
    let backend = field.cluster.backends.iter().find(|backend| backend.name == copy.backend);
    let server = &backend.context("its backend")?.server;

    let blob = server.blob(&copy.storage_key).context("its blob")?;
    ensure!(server.corrupt(&copy.storage_key));
    let found = campaign.check().await?;
    ensure!(has(&found, "whole copies", &copy.name), "a flipped bit: {found:?}");

    server.remove(&copy.storage_key);
    let found = campaign.check().await?;
    ensure!(has(&found, "accounting", "copy without its blob"), "a missing blob: {found:?}");
    ensure!(has(&found, "whole copies", &copy.name), "a missing blob: {found:?}");
    server.plant(&copy.storage_key, blob.bytes);

    // One of our own names, of another attempt; what others write is unmanaged, and theirs.
    let nobodys = format!("{}1", &copy.storage_key[..copy.storage_key.len() - 1]);
    server.plant(&nobodys, "0");
    let found = campaign.check().await?;
    ensure!(has(&found, "accounting", "blob without a row"), "a blob of nobody: {found:?}");
    server.remove(&nobodys);

    let sql = field.cluster.sql().await?;
    sql.batch_execute("UPDATE backend_usage SET reserved = reserved + 1 WHERE backend = 1 AND slot = 0")
        .await?;
    let found = campaign.check().await?;
    ensure!(has(&found, "quota", "1 bytes reserved"), "a reservation of nobody: {found:?}");
    sql.batch_execute("UPDATE backend_usage SET reserved = reserved - 1 WHERE backend = 1 AND slot = 0")
        .await?;

    let lost = "DELETE FROM object_versions WHERE version = (SELECT version FROM object_versions
                WHERE NOT delete_marker LIMIT 1)";
    ensure!(sql.execute(lost, &[]).await? == 1);
    let found = campaign.check().await?;
    ensure!(has(&found, "versions", "is not listed"), "a version that is gone: {found:?}");
    campaign.end();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_order_explains_and_what_is_not_counted_is_found() -> Result<()> {
    let campaign = calm().await?;
    let (recorder, key) = (&campaign.field().board.recorder, "single/hot/0/a");
    let last = recorder.invoke("liar", key, Call::Read);
    last.end(Outcome::Saw(Some("never written".into())));
    let found = campaign.check().await?;
    ensure!(has(&found, "linearizability", "a value that nobody wrote"), "{found:?}");

    // The burst is recorded twice from now on.
    let twice = "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.requests := NEW.requests + 1; RETURN NEW; END $$;
        CREATE TRIGGER twice BEFORE UPDATE ON monthly_usage FOR EACH ROW EXECUTE FUNCTION twice();";
    campaign.field().cluster.sql().await?.batch_execute(twice).await?;
    let report = campaign.finish(Vec::new()).await?;
    ensure!(has(&report.violations, "usage", "seen minus recorded"), "{}", report.text);
    ensure!(report.files.is_some_and(|files| files.join("history").is_file()), "no files were kept");
    Ok(())
}
