//! PostgreSQL over TLS: each `sslmode` against a server that has it, wants it, or has it not.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::support::{eventually, raw, scratch};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use s3o_localpg::{LocalPostgres, Options};
use s3o_store::{Store, StoreOptions};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// All of one name, so that only the keys tell them apart.
fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server whose TLS and whose `pg_hba.conf` change while it runs.
struct World {
    server: LocalPostgres,
    pgdata: PathBuf,
}

impl World {
    async fn start(dir: &Path) -> Self {
        let options = Options { fsync: false, ..Options::new(dir.join("pg")) };
        Self { server: LocalPostgres::start(options).await.unwrap(), pgdata: dir.join("pg/pgdata") }
    }

    fn url(&self, host: &str, options: &str) -> String {
        format!("{}?{options}", self.server.url().replace("127.0.0.1", host))
    }

    /// A file of the server's user.
    fn write(&self, name: &str, text: &str) {
        let file = self.pgdata.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let owner = std::fs::metadata(&self.pgdata).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// Who may connect from now on; connections that stand stay.
    async fn admit(&self, admin: &tokio_postgres::Client, lines: &str) {
        self.write("pg_hba.conf", lines);
        self.reload(admin).await;
    }

    async fn reload(&self, admin: &tokio_postgres::Client) {
        let loaded = "SELECT pg_conf_load_time()::text";
        let before: String = admin.query_one(loaded, &[]).await.unwrap().get(0);
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        eventually("the server has read its files again", || async {
            admin.query_one(loaded, &[]).await.unwrap().get::<_, String>(0) != before
        })
        .await;
    }

    async fn present(&self, admin: &tokio_postgres::Client, certificate: &str, key: &KeyPair) {
        self.write("server.crt", certificate);
        self.write("server.key", &key.serialize_pem());
        admin.batch_execute("ALTER SYSTEM SET ssl = 'on'").await.unwrap();
        self.reload(admin).await;
    }
}

/// Whether a store that is opened is encrypted, by what the server says of its connections.
async fn encrypted(admin: &tokio_postgres::Client, url: &str) -> bool {
    // The server reads the last of its files after it has said that it did.
    eventually(url, || async { Store::migrate(url).await.is_ok() }).await;
    let theirs = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 's3o %'";
    eventually("the store before it is gone", || async {
        admin.query_one(theirs, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let store = Store::connect(StoreOptions::new(url)).await.unwrap();
    let ask = "SELECT bool_or(ssl), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
               WHERE application_name LIKE 's3o %'";
    let row = admin.query_one(ask, &[]).await.unwrap();
    let (any, all): (bool, bool) = (row.get(0), row.get(1));
    assert_eq!(any, all, "some connections are encrypted and some are not");
    store.close().await;
    any
}

async fn refused(url: &str) -> String {
    eventually(url, || async { Store::migrate(url).await.is_err() }).await;
    Store::migrate(url).await.expect_err(url).to_string()
}

#[tokio::test]
async fn every_mode_means_what_libpq_means() {
    let dir = scratch("tls");
    std::fs::create_dir_all(&dir).unwrap();
    let world = World::start(&dir).await;
    let admin = raw(&world.server.url()).await;
    let (ours, other) = (authority(), authority());
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, wrong_ca) = (file("ca.crt", &ours.pem()), file("wrong.crt", &other.pem()));

    // Without TLS on the server.
    assert!(!encrypted(&admin, &world.server.url()).await);
    let why = refused(&world.url("localhost", "sslmode=require")).await;
    assert!(why.contains("server does not support TLS"), "{why}");

    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    world.present(&admin, &params.signed_by(&key, &ours).unwrap().pem(), &key).await;
    for (host, options, wanted) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), false),
        ("127.0.0.1", "connect_timeout=9".to_owned(), true),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require"), true),
        // What is preferred is not insisted on.
        ("127.0.0.1", format!("sslmode=prefer&sslrootcert={wrong_ca}"), false),
    ] {
        assert_eq!(encrypted(&admin, &world.url(host, &options)).await, wanted, "{options}");
    }
    let several = world.server.url().replace("127.0.0.1:", "127.0.0.1:1,localhost:");
    assert!(encrypted(&admin, &format!("{several}?sslmode=verify-full&sslrootcert={ca}")).await);

    let why = refused(&world.url("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={ca}"))).await;
    assert!(why.contains("not valid for name") && why.contains("localhost"), "{why}");
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = world.url("localhost", &format!("sslmode={mode}&sslrootcert={wrong_ca}"));
        let why = refused(&url).await;
        assert!(why.contains("no authority that is trusted here"), "{mode}: {why}");
    }
    // This system's authorities, where it has any, have not signed it.
    assert!(refused(&world.url("localhost", "sslmode=verify-full")).await.contains("sslrootcert"));

    // As people do it: the server's own certificate is what is trusted.
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(SerialNumber::from(7_u64));
    let own = params.self_signed(&key).unwrap().pem();
    world.present(&admin, &own, &key).await;
    let itself = file("itself.crt", &own);
    assert!(
        encrypted(&admin, &world.url("localhost", &format!("sslmode=verify-full&sslrootcert={itself}")))
            .await
    );
    assert!(refused(&world.url("localhost", &format!("sslmode=verify-ca&sslrootcert={ca}"))).await.len() > 1);

    who_gets_in(&world, &admin, &ours, &file).await;
    drop(world);
    std::fs::remove_dir_all(dir).unwrap();
}

/// What `pg_hba.conf` asks for.
async fn who_gets_in(
    world: &World,
    admin: &tokio_postgres::Client,
    ours: &Authority,
    file: &impl Fn(&str, &str) -> String,
) {
    let with = |options: &str| world.url("127.0.0.1", options);
    world.admit(admin, "hostssl all all 127.0.0.1/32 scram-sha-256\n").await;
    let why = refused(&with("sslmode=disable")).await;
    assert!(why.contains("no encryption") && why.contains("See sslmode"), "{why}");
    assert!(encrypted(admin, &world.server.url()).await);

    world.admit(admin, "hostnossl all all 127.0.0.1/32 scram-sha-256\n").await;
    assert!(!encrypted(admin, &world.server.url()).await);
    let why = refused(&with("sslmode=require")).await;
    assert!(why.contains("no pg_hba.conf entry"), "{why}");

    world.write("root.crt", &ours.pem());
    admin.batch_execute("ALTER SYSTEM SET ssl_ca_file = 'root.crt'").await.unwrap();
    world.admit(admin, "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n").await;
    let key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&key, ours).unwrap();
    let (cert, key) = (file("client.crt", &client.pem()), file("client.key", &key.serialize_pem()));
    assert!(encrypted(admin, &with(&format!("sslmode=require&sslcert={cert}&sslkey={key}"))).await);
    let why = refused(&with("sslmode=require")).await;
    assert!(why.contains("certificate"), "{why}");
}
