//! What is refused before it can spoil a batch, and how much of a batch a call takes.

use s3o_core::call::{Call, CarriedIntent, Expiring, FinishedTarget, Found, Refusal, Request};
use s3o_core::object::Locate;
use s3o_types::{ErrorCode, ObjectAttributes};

/// Bytes that a call costs besides its texts: ids, numbers, the rows around them.
const BASE_BYTES: usize = 512;

/// What the parts of an upload that is closed may cost, however many there are: a few such calls make a batch.
const PARTS_BYTES: usize = 128 * 1024;

/// What a part of an upload costs as a copy: ids, numbers, ETag.
const PART_BYTES: usize = 128;

/// The texts of a call, summed up. PostgreSQL's `text` holds everything but U+0000.
#[derive(Default)]
struct Texts {
    bytes: usize,
    nul: bool,
}

impl Texts {
    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        self.nul |= text.contains('\0');
    }

    fn add_all<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        texts.into_iter().for_each(|text| self.add(text));
    }

    fn intent(&mut self, intent: &CarriedIntent) {
        let CarriedIntent { bucket: _, key, version: _, size: _, conditions, upload: _, replica: _, targets } =
            intent;
        self.add(key);
        self.add_all(conditions.if_match.iter().map(s3o_types::Etag::as_str));
        self.add_all(targets.iter().map(|target| target.storage_key.as_str()));
    }

    fn attributes(&mut self, attributes: &ObjectAttributes) {
        let ObjectAttributes { headers, metadata, tags, lock: _ } = attributes;
        let s3o_types::ContentHeaders {
            content_type,
            content_encoding,
            content_disposition,
            content_language,
            cache_control,
            expires,
            website_redirect,
            storage_class,
        } = headers;
        let headers = [
            content_type,
            content_encoding,
            content_disposition,
            content_language,
            cache_control,
            expires,
            website_redirect,
            storage_class,
        ];
        self.add_all(headers.into_iter().flatten().map(String::as_str));
        for (name, value) in metadata.iter().chain(tags) {
            self.add_all([name.as_str(), value.as_str()]);
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Begin(begin) => {
                self.add(&begin.key);
                self.add_all(begin.conditions.if_match.iter().map(s3o_types::Etag::as_str));
            }
            Call::Retarget(retarget) => self.intent(&retarget.intent),
            Call::Commit(commit) => {
                self.intent(&commit.intent);
                self.finished(&commit.failed);
                self.add(commit.etag.as_str());
                self.attributes(&commit.attributes);
                for (name, value) in &commit.checksums.values {
                    self.add_all([name.as_str(), value.as_str()]);
                }
                for copy in &commit.copies {
                    self.add_all(copy.backend_etag.iter().map(s3o_types::Etag::as_str));
                    self.add_all(copy.backend_version.iter().map(String::as_str));
                    self.add_all([
                        copy.encoding.cipher.as_str(),
                        &copy.encoding.key_id,
                        &copy.encoding.compression,
                    ]);
                }
            }
            Call::Abort(abort) => {
                self.intent(&abort.intent);
                self.finished(&abort.targets);
            }
            Call::Delete(delete) => {
                self.add(&delete.key);
                self.add_all(delete.conditions.if_match.iter().map(s3o_types::Etag::as_str));
            }
            Call::SetTags(set) => {
                self.add(&set.key);
                for (name, value) in &set.tags {
                    self.add_all([name.as_str(), value.as_str()]);
                }
            }
            Call::SetLock(set) => self.add(&set.key),
            Call::CreateUpload(create) => {
                self.add(&create.key);
                self.attributes(&create.attributes);
                let checksum = create.checksum.iter();
                self.add_all(checksum.flat_map(|c| [c.algorithm.as_str(), c.kind.as_str()]));
            }
            Call::CompleteUpload(complete) => {
                self.add(&complete.key);
                self.add_all(complete.conditions.if_match.iter().map(s3o_types::Etag::as_str));
                self.add(complete.etag.as_str());
                for (name, value) in &complete.checksums.values {
                    self.add_all([name.as_str(), value.as_str()]);
                }
                self.bytes += PARTS_BYTES;
                // Each becomes a row with the key in it.
                self.bytes += complete.parts.len() * (PART_BYTES + complete.key.len());
            }
            Call::BeginCopy(begin) => self.add(&begin.of.key),
            Call::ChangeCopy(change) => self.add(&change.of.key),
            Call::GiveUp(give_up) => self.add(&give_up.of.key),
            Call::SettleBlob(settle) => {
                self.add_all([settle.of.key.as_str(), &settle.storage_key]);
                self.add_all(settle.backend_etag.iter().map(s3o_types::Etag::as_str));
                self.add_all(settle.backend_version.as_deref());
            }
            Call::Import(import) => {
                self.add_all([import.key.as_str(), &import.foreign_key]);
                self.add_all([import.etag.as_str(), import.backend_etag.as_str()]);
                self.add_all(import.backend_version.as_deref());
                self.attributes(&import.attributes);
            }
            Call::Expire(expire) => {
                self.add(&expire.key);
                if matches!(expire.what, Expiring::Upload(_)) {
                    self.bytes += PARTS_BYTES;
                }
            }
            Call::AbortUpload(abort) => {
                self.add(&abort.key);
                self.bytes += PARTS_BYTES;
            }
            Call::Resolve(resolve) => {
                self.found(&resolve.intent.key, resolve.found.iter().map(|(_, found)| found));
            }
        }
    }

    fn finished(&mut self, targets: &[FinishedTarget]) {
        self.add_all(targets.iter().filter_map(|target| target.backend_version.as_deref()));
    }

    fn found<'a>(&mut self, key: &str, found: impl Iterator<Item = &'a Found>) {
        self.add(key);
        for blob in found {
            if let Found::Blob { stored_size: _, size: _, etag, attributes, backend_version } = blob {
                self.add_all(etag.iter().map(s3o_types::Etag::as_str));
                self.add_all(backend_version.iter().map(String::as_str));
                if let Some(attributes) = attributes {
                    self.attributes(attributes);
                }
            }
        }
    }
}

fn nul() -> Refusal {
    Refusal::new(ErrorCode::InvalidArgument, "U+0000 is not allowed in keys, headers, metadata or tags")
}

/// The call's share of a batch in bytes, or why it goes into none.
pub(crate) fn weigh(request: &Request) -> Result<usize, Refusal> {
    let mut texts = Texts::default();
    texts.add(&request.access_key);
    texts.call(&request.call);
    if texts.nul { Err(nul()) } else { Ok(BASE_BYTES + texts.bytes) }
}

/// A key with U+0000 exists nowhere.
pub(crate) fn locatable(query: &Locate) -> bool {
    !query.key.contains('\0')
}
