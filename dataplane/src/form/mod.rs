//! A browser's form (RFC 7578): the fields before the file, and the file as a stream.
//!
//! Invariants: of the fields, 20 KB at most are held; the file is never held here; what comes behind
//! the file is not looked at, and never becomes a part of it.

mod part;
mod policy;
mod reader;
mod signature;

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use s3s::{Body, S3Result, s3_error};
use time::OffsetDateTime;

use policy::Policy;
pub(crate) use reader::FilePart;
use reader::{Reader, malformed};
use signature::Signed;

/// The longest boundary (RFC 2046, 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// A form whose fields have been read.
pub(crate) struct Form {
    /// By their names in lower case; the key's `${filename}` is replaced.
    pub fields: BTreeMap<String, String>,
    /// The file.
    pub file: FilePart,
}

/// Whether a request's body is a form; `None` for one without a boundary.
pub(crate) fn boundary(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (name, parameters) = kind.split_once(';')?;
    if !name.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, boundary) =
        parameters.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let boundary = boundary.trim().trim_matches('"');
    (1..=MAX_BOUNDARY).contains(&boundary.len()).then(|| boundary.to_owned())
}

impl Form {
    /// Reads up to the first byte of the file. `length` is that of the whole body.
    pub(crate) async fn read(body: Body, boundary: &str, length: u64) -> S3Result<Self> {
        let mut reader = Reader::new(body, boundary);
        reader.until(&reader.delimiter.clone()).await?;
        let mut fields = BTreeMap::new();
        loop {
            let part = reader.part().await?;
            if part.name == "file" {
                replace_variable(&mut fields, &part.file_name);
                let at_most = length.checked_sub(reader.read()).ok_or_else(malformed)?;
                // The delimiter, two hyphens, and the last line's end.
                let size = at_most.checked_sub(reader.delimiter.len() as u64 + 4);
                let file = FilePart { reader, size: size.ok_or_else(malformed)?, at_most };
                return Ok(Self { fields, file });
            }
            let value = reader.until(&reader.delimiter.clone()).await?;
            let value = String::from_utf8(value.to_vec()).map_err(|_| malformed())?;
            // Twice would let one be checked and the other be used.
            if fields.insert(part.name.clone(), value).is_some() {
                let name = part.name;
                return Err(s3_error!(InvalidArgument, "POST requires exactly one field named '{name}'."));
            }
        }
    }

    /// The access key that signed the form for `bucket`, once `secret` has shown that it did and the policy allows
    /// all fields. What it says of the file's size is left to [`Allowed::check_size`].
    pub(crate) fn check(
        &self,
        bucket: &str,
        region: Option<&str>,
        secret: impl FnOnce(&str) -> S3Result<String>,
    ) -> S3Result<Allowed> {
        let now = OffsetDateTime::now_utc();
        let signed = Signed::of(&self.fields, region, now)?;
        signed.verify(&secret(signed.access_key)?)?;
        let policy = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            self.fields.get("policy").map(String::as_str).unwrap_or_default(),
        );
        let policy =
            policy.map_err(|_| s3_error!(InvalidPolicyDocument, "Invalid Policy: it is not Base64"))?;
        let policy = Policy::parse(&policy)?;
        let mut fields = self.fields.clone();
        if fields.insert("bucket".to_owned(), bucket.to_owned()).is_some_and(|said| said != bucket) {
            return Err(s3_error!(InvalidArgument, "The field 'bucket' is not the bucket of the URL"));
        }
        policy.check(&fields, now)?;
        Ok(Allowed { access_key: signed.access_key.to_owned(), policy })
    }
}

/// A form that was checked.
#[derive(Debug)]
pub(crate) struct Allowed {
    /// Who signed it.
    pub access_key: String,
    policy: Policy,
}

impl Allowed {
    /// Whether the file may have this size.
    pub(crate) fn check_size(&self, size: u64) -> S3Result<()> {
        self.policy.check_size(size)
    }
}

fn replace_variable(fields: &mut BTreeMap<String, String>, file_name: &str) {
    // Some browsers say the whole path.
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    if let Some(key) = fields.get_mut("key") {
        *key = key.replace("${filename}", name);
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::TryStreamExt as _;
    use http_body_util::StreamBody;

    use super::reader::MAX_FIELDS;
    use super::*;
    use crate::pipeline::BoxError;

    /// A body that comes in pieces of `size` bytes.
    fn body(text: &[u8], size: usize) -> Body {
        let pieces: Vec<Bytes> = text.chunks(size).map(Bytes::copy_from_slice).collect();
        let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(http_body::Frame::data(piece)));
        Body::http_body_unsync(StreamBody::new(futures::stream::iter(frames)))
    }

    fn form(fields: &[(&str, &str)], file: &[u8], behind: &str) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in fields {
            text.extend(
                format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
            );
        }
        let head = "--B\r\ncontent-disposition: form-data; filename=\"C:\\dir\\a \\\"b\\\";c.txt\"; name=\"file\"\r\nContent-Type: text/plain\r\n\r\n";
        text.extend(head.bytes());
        text.extend(file);
        text.extend(format!("\r\n--B{behind}--\r\n").bytes());
        text
    }

    async fn read(text: &[u8], size: usize) -> Result<(Form, u64), String> {
        let form = Form::read(body(text, size), "B", text.len() as u64).await;
        let form = form.map_err(|error| error.code().as_str().to_owned())?;
        let size = form.file.size;
        Ok((form, size))
    }

    async fn bytes(file: FilePart) -> Result<Vec<u8>, String> {
        let chunks: Result<Vec<Bytes>, BoxError> = file.stream().try_collect().await;
        chunks.map(|chunks| chunks.concat()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn however_it_comes() {
        for file in [&b""[..], b"x", b"\r\n", b"\r\n--", b"\r\n--A\r\r\n--\r\n-", b"some\r\n--\r\nlines"] {
            let text = form(&[("Key", "up/${filename}"), ("x-amz-meta-A", "1\r\n2")], file, "");
            for size in 1..text.len() {
                let (form, known) = read(&text, size).await.expect("good");
                assert_eq!(form.fields["key"], "up/a \"b\";c.txt");
                assert_eq!(form.fields["x-amz-meta-a"], "1\r\n2");
                assert_eq!(known, file.len() as u64);
                assert_eq!(bytes(form.file).await.expect("whole"), file, "{size}");
            }
        }
    }

    #[tokio::test]
    async fn what_comes_behind_the_file_is_no_part_of_it() {
        let behind = "\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n--B";
        let text = form(&[("key", "k")], b"bytes", behind);
        let (form, known) = read(&text, 7).await.expect("good");
        assert!(known > 5 && form.file.at_most > known);
        assert_eq!(bytes(form.file).await.expect("whole"), b"bytes");
    }

    #[tokio::test]
    async fn what_is_no_form_is_said() {
        let code = async |text: &[u8]| read(text, 10).await.err().unwrap_or_default();
        assert_eq!(code(b"").await, "MalformedPOSTRequest");
        assert_eq!(code(b"hello").await, "MalformedPOSTRequest");
        assert_eq!(code(b"--B\r\nX: y\r\n\r\nz\r\n--B--\r\n").await, "MalformedPOSTRequest");
        assert_eq!(code(b"--Bx\r\n\r\n").await, "MalformedPOSTRequest");
        let no_file = b"--B\r\nContent-Disposition: form-data; name=key\r\n\r\nk\r\n--B--\r\n";
        assert_eq!(code(no_file).await, "InvalidArgument");
        assert_eq!(code(&form(&[("key", "a"), ("KEY", "b")], b"x", "")).await, "InvalidArgument");
        let large = "x".repeat(MAX_FIELDS);
        assert_eq!(code(&form(&[("key", &large)], b"x", "")).await, "MaxPostPreDataLengthExceeded");
        let many: Vec<(String, String)> = (0..40).map(|n| (format!("f{n}"), "x".repeat(500))).collect();
        let many: Vec<(&str, &str)> =
            many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(code(&form(&many, b"x", "")).await, "MaxPostPreDataLengthExceeded");
        let cut = form(&[("key", "k")], &[7; 100], "");
        let (form, _) = read(&cut[..cut.len() - 8], 10).await.expect("the fields are whole");
        assert_eq!(bytes(form.file).await, Err("the form ends within its file".to_owned()));
    }

    #[test]
    fn boundaries() {
        let of = |kind: &'static str| {
            boundary(&HeaderMap::from_iter([(header::CONTENT_TYPE, http::HeaderValue::from_static(kind))]))
        };
        assert_eq!(of("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(of("Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"").as_deref(), Some("a b"));
        for none in ["multipart/form-data", "multipart/form-data; boundary=", "text/plain; boundary=abc"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
