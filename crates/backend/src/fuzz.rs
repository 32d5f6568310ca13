//! Answers to a listing, whole, as they come over a connection: what the AWS SDK makes of them, and what we make of that.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3o_types::{BackendId, BackendSpec, Credentials, Place, Quirks, Secret};

use crate::client::BackendClient;
use crate::error::BackendErrorKind;
use crate::pool::{HttpPool, Timeouts};

/// A backend that says the same to everybody.
#[derive(Clone, Default)]
struct Parrot(Arc<Mutex<Vec<u8>>>);

impl Parrot {
    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let parrot = self.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                // A client that went away is no matter.
                let _ = parrot.answer(connection);
            }
        });
        address
    }

    fn say(&self, status: u16, body: &str) {
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        *self.0.lock().expect("nobody panicked") = (head + body).into_bytes();
    }

    fn answer(&self, mut connection: TcpStream) -> std::io::Result<()> {
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (mut request, mut some) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"\r\n\r\n") {
            let read = connection.read(&mut some)?;
            if read == 0 {
                return Ok(());
            }
            request.extend_from_slice(&some[..read]);
        }
        let answer = self.0.lock().expect("nobody panicked").clone();
        connection.write_all(&answer)?;
        // Whoever closes first cannot use the port for a while: the client has more of them.
        while connection.read(&mut some)? > 0 {}
        Ok(())
    }
}

fn client(address: SocketAddr) -> BackendClient {
    let spec = BackendSpec {
        id: BackendId(1),
        name: "parrot".to_owned(),
        endpoint: format!("http://{address}"),
        region: "us-east-1".to_owned(),
        bucket: "data".to_owned(),
        place: Place::FIRST,
        credentials: Credentials::Static {
            access_key_id: "key".to_owned(),
            secret_access_key: Secret::new("secret"),
            session_token: None,
        },
        quirks: Quirks::default(),
    };
    let patience = Duration::from_secs(5);
    let timeouts = Timeouts { idle: patience, response: patience, ..Timeouts::default() };
    BackendClient::new(spec, HttpPool::new(timeouts))
}

fn listing() -> impl Strategy<Value = String> {
    let key =
        prop_oneof!["[a-z]{3}/[a-z]{1,9}~[0-9A-Z]{32}", "[ -%'-;=?-~é]{0,20}", "&amp;(&#[0-9]{1,4};){1,2}"];
    let date = prop_oneof![
        Just("2026-01-31T00:00:00.000Z".to_owned()),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?Z"
    ];
    let entry = (key, date, "(&quot;|\")[0-9a-f]{32}(&quot;|\")", any::<i64>()).prop_map(|(key, date, etag, size)| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>{date}</LastModified><ETag>{etag}</ETag><Size>{size}</Size></Contents>"
        )
    });
    (prop::collection::vec(entry, 0..4), any::<bool>()).prop_map(|(entries, truncated)| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>{truncated}</IsTruncated>{}</ListBucketResult>",
            entries.concat()
        )
    })
}

#[test]
fn listings() {
    let parrot = Parrot::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = {
        let _entered = runtime.enter();
        client(parrot.start())
    };
    let status = prop_oneof![8 => Just(200_u16), 1 => Just(404), 1 => Just(503)];
    let tokens = &[
        "<Contents>",
        "</Contents>",
        "<Key>",
        "</Key>",
        "<Size>-1</Size>",
        "<Size>1e9</Size>",
        "<Key/>",
        "<![CDATA[",
        "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\">]>",
        "&b;",
        "&#0;",
        "<Error><Code>SlowDown</Code>",
        "9999-12-31T23:59:60Z",
        "<!--",
        "?>",
    ];
    check(&(status, texts(listing(), tokens)), |(status, body)| {
        parrot.say(status, &body);
        if let Ok(page) = runtime.block_on(client.list("", None, 10)) {
            prop_assert_eq!(status, 200);
            prop_assert!(page.entries.len() <= body.matches("Contents").count());
            let keys: usize = page.entries.iter().map(|entry| entry.key.len()).sum();
            prop_assert!(keys <= body.len(), "nothing grows by being read");
        }
        Ok(())
    });
}

#[test]
fn a_listing_without_end_is_cut() {
    let parrot = Parrot::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = {
        let _entered = runtime.enter();
        client(parrot.start())
    };
    let padded = |bytes: usize| format!("<ListBucketResult>{}</ListBucketResult>", " ".repeat(bytes));
    parrot.say(200, &padded(1 << 20));
    assert!(runtime.block_on(client.list("", None, 10)).is_ok());
    parrot.say(200, &padded(16 << 20));
    let error = runtime.block_on(client.list("", None, 10)).expect_err("too long");
    assert_eq!(error.kind, BackendErrorKind::Server);
    assert!(error.message.contains("length limit exceeded"), "{error}");
}

#[test]
fn a_listing_that_cannot_be_read_names_its_backend() {
    let parrot = Parrot::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = {
        let _entered = runtime.enter();
        client(parrot.start())
    };
    // It says that it encodes, or does not.
    for encoding in ["<EncodingType>url</EncodingType>", ""] {
        let entry = "<Contents><Key>a%41\u{fffe}</Key></Contents>";
        parrot.say(200, &format!("<ListBucketResult>{encoding}{entry}</ListBucketResult>"));
        let error = runtime.block_on(client.list("p/", None, 10)).expect_err("no XML");
        assert_eq!((error.kind, error.status), (BackendErrorKind::Server, Some(200)), "{error}");
        assert!(error.message.contains("`parrot`") && error.message.contains("encoding-type"), "{error}");
    }
    parrot.say(200, "<ListBucketResult><Contents><Key>a%41+</Key></Contents></ListBucketResult>");
    let page = runtime.block_on(client.list("", None, 10)).expect("XML");
    assert_eq!(page.entries[0].key, "a%41+", "nothing is decoded that could be read");
}
