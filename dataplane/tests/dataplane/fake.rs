//! A control plane in memory: enough of the contract to drive a data plane, and a memory of what it was
//! told. Outcomes are kept by operation id, as the real one keeps them.

#![allow(clippy::unwrap_used, clippy::pedantic, dead_code, unreachable_pub, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use futures::{Stream, StreamExt as _};
use s3o_proto::v1;
use s3o_proto::v1::data_plane_server::{DataPlane, DataPlaneServer};
use s3o_proto::v1::operation::Call;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_types::{BackendSpec, BlobName, Credentials, ErrorCode, EtagProof, StorageKey, VersionId};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// The state, shared with the test.
#[derive(Clone, Default)]
pub struct Fake(pub Arc<Mutex<Model>>);

/// What it knows and what it was told.
#[derive(Default)]
pub struct Model {
    pub objects: BTreeMap<String, v1::Located>,
    pub outcomes: HashMap<(bytes::Bytes, i32, u8), Outcome>,
    pub intents: HashMap<bytes::Bytes, v1::Begun>,
    pub aborts: Vec<v1::Abort>,
    pub commits: Vec<v1::Commit>,
    pub begins: Vec<v1::Begin>,
    pub retargets: usize,
    pub usage: Vec<v1::UsageReport>,
    pub hellos: usize,
    /// Keys of which wrong bytes were reported.
    pub reports: Vec<String>,
    /// Order of placement. An ETag of which nothing is known is said to be an MD5.
    pub backends: Vec<BackendSpec>,
    /// Targets of a Begin, and the copies that its Commit needs; one each if nothing else is said.
    pub level: Option<(usize, u32)>,
    /// Break the stream in the place of the next answers of this kind.
    pub lose: HashMap<u8, usize>,
    /// Answer this to the next Begin.
    pub refuse_begin: Option<ErrorCode>,
    /// Answer this to the next Commit, without settling anything.
    pub refuse_commit: Option<ErrorCode>,
    pub required_features: Vec<String>,
    /// A control plane of before tagging: it cannot read the call.
    pub knows_no_tags: bool,
    /// How often the configuration was changed.
    pub generation: i64,
    /// `degraded_reads` of its buckets.
    pub degraded_reads: i32,
    /// The Object Lock of its buckets.
    pub lock: Option<v1::BucketLock>,
    /// Nothing is decided: every call gets "briefly unable".
    pub is_away: bool,
    /// So it will be after the next Locate.
    pub leaves: bool,
    /// Extents that one Locate brings, at most.
    pub window: Option<usize>,
    /// Where versions are by now, for who asks for more of one.
    pub moved: HashMap<String, v1::Located>,
    /// The ways down.
    pub sessions: Vec<tokio::sync::mpsc::UnboundedSender<v1::SessionDown>>,
    next: u64,
}

pub const BEGIN: u8 = 1;
pub const COMMIT: u8 = 3;

fn refused(code: ErrorCode) -> Outcome {
    Outcome::Refused(v1::Refused { code: code.info().wire, message: "refused by the test".to_owned() })
}

fn target(key: &str, version: VersionId, backend: &BackendSpec) -> v1::Target {
    v1::Target {
        backend: backend.id.0,
        place: backend.place.number(),
        extent: 0,
        r#gen: 0,
        storage_key: StorageKey::format("photos", key, BlobName::first(version)),
    }
}

impl Model {
    fn decide(&mut self, operation: &v1::Operation) -> Outcome {
        let call = operation.call.as_ref().unwrap();
        let kind = match call {
            Call::Begin(_) => BEGIN,
            Call::Retarget(_) | Call::Locate(_) => return self.undecided(operation, call),
            Call::Commit(_) => COMMIT,
            Call::Abort(_) => 4,
            Call::Delete(_) => 5,
            Call::SetTags(_) => 6,
            // A control plane of before multipart and Object Lock: it cannot read the calls.
            Call::CreateUpload(_) | Call::CompleteUpload(_) | Call::AbortUpload(_) | Call::SetLock(_) => {
                return refused(ErrorCode::FeatureRequired);
            }
        };
        let id = (operation.op.clone(), operation.item, kind);
        if let Some(outcome) = self.outcomes.get(&id) {
            return outcome.clone();
        }
        if matches!(call, Call::Commit(_))
            && let Some(code) = self.refuse_commit.take()
        {
            return refused(code);
        }
        let outcome = self.decided(operation, call);
        self.outcomes.insert(id, outcome.clone());
        outcome
    }

    fn decided(&mut self, operation: &v1::Operation, call: &Call) -> Outcome {
        match call {
            Call::Begin(begin) => self.begin(operation, begin),
            Call::Commit(commit) => self.commit(operation, commit),
            Call::Abort(abort) => {
                self.intents.remove(&operation.op);
                self.aborts.push(abort.clone());
                Outcome::Aborted(v1::Aborted {})
            }
            Call::Delete(delete) => {
                let existed = self.objects.remove(&delete.key).is_some();
                Outcome::Deleted(v1::Deleted { existed, version_id: String::new(), delete_marker: false })
            }
            Call::SetTags(set) => self.set_tags(set),
            Call::Retarget(_) | Call::Locate(_) => unreachable!(),
            Call::CreateUpload(_) | Call::CompleteUpload(_) | Call::AbortUpload(_) | Call::SetLock(_) => {
                unreachable!()
            }
        }
    }

    fn undecided(&mut self, operation: &v1::Operation, call: &Call) -> Outcome {
        match call {
            Call::Retarget(retarget) => {
                self.retargets += 1;
                let intent = retarget.intent.as_ref().unwrap();
                let used: Vec<_> = intent.targets.iter().map(|target| target.backend).collect();
                let free = self.backends.iter().find(|spec| !used.contains(&spec.id.0));
                let Some(backend) = free else { return refused(ErrorCode::InsufficientStorage) };
                let version = self.intents[&operation.op].version.clone();
                let version = VersionId::from_uuid(uuid::Uuid::from_slice(&version).unwrap());
                Outcome::Retargeted(v1::Retargeted { target: Some(target(&intent.key, version, backend)) })
            }
            Call::Locate(locate) => self.locate(locate),
            _ => unreachable!(),
        }
    }

    fn locate(&mut self, locate: &v1::Locate) -> Outcome {
        let moved = self.moved.get(&locate.key).filter(|_| !locate.of_version.is_empty());
        let Some(located) = moved.or_else(|| self.objects.get(&locate.key)) else {
            return refused(ErrorCode::NoSuchKey);
        };
        let mut located = located.clone();
        if let (Some(number), Some(_)) = (locate.part, located.parts) {
            located.extents = located.extents.drain(..).skip(number as usize - 1).take(1).collect();
        }
        if let Some(window) = self.window {
            let start = locate.range_start.unwrap_or_default();
            located.extents.retain(|extent| extent.offset + extent.size > start);
            located.extents.truncate(window);
        }
        self.is_away |= std::mem::take(&mut self.leaves);
        Outcome::Located(located)
    }

    fn set_tags(&mut self, set: &v1::SetTags) -> Outcome {
        if self.knows_no_tags {
            return refused(ErrorCode::InvalidArgument);
        }
        let Some(located) = self.objects.get_mut(&set.key) else { return refused(ErrorCode::NoSuchKey) };
        located.attributes.get_or_insert_default().tags = set.tags.clone();
        Outcome::TagsSet(v1::TagsSet { version_id: String::new() })
    }

    fn begin(&mut self, operation: &v1::Operation, begin: &v1::Begin) -> Outcome {
        self.begins.push(begin.clone());
        if let Some(code) = self.refuse_begin.take() {
            return refused(code);
        }
        if begin.conditions.as_ref().is_some_and(|c| c.if_absent) && self.objects.contains_key(&begin.key) {
            return refused(ErrorCode::PreconditionFailed);
        }
        self.next += 1;
        let version = VersionId::mint(self.next, 7);
        let (count, required_copies) = self.level.unwrap_or((1, 1));
        let is_preferred = |spec: &&BackendSpec| begin.prefer.first() == Some(&spec.id.0);
        let preferred = self.backends.iter().filter(is_preferred);
        let others = self.backends.iter().filter(|spec| !is_preferred(spec));
        let chosen = preferred.chain(others).take(count);
        let begun = v1::Begun {
            version: bytes::Bytes::copy_from_slice(version.to_uuid().as_bytes()),
            targets: chosen.map(|backend| target(&begin.key, version, backend)).collect(),
            required_copies,
        };
        self.intents.insert(operation.op.clone(), begun.clone());
        Outcome::Begun(begun)
    }

    fn commit(&mut self, operation: &v1::Operation, commit: &v1::Commit) -> Outcome {
        self.commits.push(commit.clone());
        self.intents.remove(&operation.op);
        self.next += 1;
        let (seq, modified_us) = (i64::try_from(self.next).unwrap(), 1_700_000_000_000_000);
        let intent = commit.intent.clone().unwrap();
        let copy_of = |copy: &v1::StoredCopy| v1::LocatedCopy {
            backend: copy.backend,
            storage_key: intent
                .targets
                .iter()
                .find(|t| t.backend == copy.backend)
                .unwrap()
                .storage_key
                .clone(),
            stored_size: copy.stored_size,
            backend_etag: copy.backend_etag.clone(),
            encoding: copy.encoding.clone(),
            state: v1::CopyState::Verified.into(),
            foreign_key: false,
        };
        let copies = commit.copies.iter().map(copy_of).collect();
        let digest = commit.copies.first().map(|copy| copy.digest.clone()).unwrap_or_default();
        let whole = v1::LocatedExtent { size: intent.size, copies, digest, ..Default::default() };
        let extents = vec![whole];
        self.objects.insert(
            intent.key,
            v1::Located {
                parts: None,
                version_id: String::new(),
                version: intent.version,
                seq,
                size: intent.size,
                etag: commit.etag.clone(),
                modified_us,
                attributes: commit.attributes.clone(),
                checksums: commit.checksums.clone(),
                extents,
            },
        );
        Outcome::Committed(v1::Committed { seq, modified_us, version_id: String::new() })
    }

    fn configuration(&self) -> v1::Configuration {
        let backends = self.backends.iter().map(|spec| {
            let Credentials::Static { access_key_id, secret_access_key, .. } = &spec.credentials else {
                panic!()
            };
            let credentials = v1::StaticCredentials {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.expose().to_owned(),
                session_token: None,
            };
            v1::Backend {
                id: spec.id.0,
                name: spec.name.clone(),
                endpoint: spec.endpoint.clone(),
                region: spec.region.clone(),
                bucket: spec.bucket.clone(),
                credentials: Some(v1::backend::Credentials::Static(credentials)),
                quirks: Some(v1::Quirks {
                    path_style: true,
                    unsigned_payload: true,
                    etag: match spec.quirks.etag {
                        EtagProof::Unknown | EtagProof::Md5 => v1::EtagProof::Md5,
                        EtagProof::Md5Trailer => v1::EtagProof::Md5Trailer,
                        EtagProof::Opaque => v1::EtagProof::Opaque,
                    }
                    .into(),
                    ..Default::default()
                }),
                state: v1::BackendState::Active.into(),
                place: spec.place.number(),
            }
        });
        let bucket = |id, name: &str| v1::Bucket {
            id,
            name: name.to_owned(),
            versioning: v1::Versioning::Off.into(),
            degraded_reads: self.degraded_reads,
            lock: self.lock,
            ..Default::default()
        };
        v1::Configuration {
            generation: 1 + self.generation,
            cluster: "00000000-0000-0000-0000-000000000001".to_owned(),
            backends: backends.collect(),
            buckets: vec![bucket(1, "photos"), bucket(2, "secret")],
            credentials: vec![v1::Credential {
                scopes: vec![],
                access_key_id: "AK".to_owned(),
                secret_access_key: "SK".to_owned(),
                grants: vec![v1::Grant { bucket: 1, write: true }],
                create_buckets: false,
            }],
        }
    }
}

type Down<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DataPlane for Fake {
    type OperationsStream = Down<v1::OutcomeBatch>;
    type SessionStream = Down<v1::SessionDown>;

    async fn operations(
        &self,
        request: Request<Streaming<v1::OperationBatch>>,
    ) -> Result<Response<Self::OperationsStream>, Status> {
        let model = Arc::clone(&self.0);
        let answers = request.into_inner().map(move |batch| {
            let mut model = model.lock().unwrap();
            let mut outcomes = Vec::new();
            for operation in batch?.operations {
                let kind = match operation.call.as_ref().unwrap() {
                    Call::Begin(_) => BEGIN,
                    Call::Commit(_) => COMMIT,
                    _ => 0,
                };
                // The real one looks at what is asked before it asks its database.
                let no_key = matches!(&operation.call, Some(Call::Locate(locate)) if locate.key.is_empty());
                let result = if no_key {
                    refused(ErrorCode::InvalidArgument)
                } else if model.is_away {
                    refused(ErrorCode::ServiceUnavailable)
                } else {
                    model.decide(&operation)
                };
                // The work is done; the answer is lost with the stream.
                if let Some(left) = model.lose.get_mut(&kind).filter(|left| **left > 0) {
                    *left -= 1;
                    return Err(Status::unavailable("lost"));
                }
                outcomes.push(v1::Outcome { number: operation.number, result: Some(result) });
            }
            Ok(v1::OutcomeBatch { outcomes, required_features: model.required_features.clone() })
        });
        // A stream that gave an error ends.
        let answers = answers.scan(false, |ended, answer| {
            let item = (!*ended).then_some(answer);
            *ended = item.as_ref().is_some_and(Result::is_err);
            futures::future::ready(item)
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        use v1::session_down::Message as Say;
        use v1::session_up::Message as Hear;
        let model = Arc::clone(&self.0);
        let answers = request.into_inner().flat_map(move |message| {
            let mut model = model.lock().unwrap();
            let say = match message.map(|message| message.message) {
                Ok(Some(Hear::Hello(_))) => {
                    model.hellos += 1;
                    let welcome = v1::Welcome { control_plane: "fake".to_owned(), lease_ms: 60_000 };
                    vec![Say::Welcome(welcome), Say::Configuration(model.configuration())]
                }
                Ok(Some(Hear::Heartbeat(beat))) => {
                    vec![Say::HeartbeatAck(v1::HeartbeatAck { number: beat.number })]
                }
                Ok(Some(Hear::Usage(report))) => {
                    let number = report.number;
                    model.usage.push(report);
                    vec![Say::UsageAck(v1::UsageAck { number })]
                }
                _ => vec![],
            };
            let down = |message| Ok(v1::SessionDown { message: Some(message), required_features: vec![] });
            futures::stream::iter(say.into_iter().map(down).collect::<Vec<_>>())
        });
        let (push, pushed) = tokio::sync::mpsc::unbounded_channel();
        self.with(|model| model.sessions.push(push));
        // Ends with what the data plane says.
        let answers = answers.map(Some).chain(futures::stream::iter([None]));
        let pushed = tokio_stream::wrappers::UnboundedReceiverStream::new(pushed).map(|down| Some(Ok(down)));
        let all = futures::stream::select(answers, pushed);
        let all =
            all.take_while(|one| futures::future::ready(one.is_some())).filter_map(futures::future::ready);
        Ok(Response::new(Box::pin(all)))
    }

    async fn change_bucket(
        &self,
        _: Request<v1::ChangeBucketRequest>,
    ) -> Result<Response<v1::ChangeBucketReply>, Status> {
        Err(Status::unimplemented("a control plane of before it"))
    }

    async fn get_configuration(
        &self,
        _: Request<v1::GetConfigurationRequest>,
    ) -> Result<Response<v1::GetConfigurationReply>, Status> {
        Err(Status::unimplemented("a control plane of before it"))
    }

    async fn list_parts(
        &self,
        _: Request<v1::ListPartsRequest>,
    ) -> Result<Response<v1::ListPartsReply>, Status> {
        Err(Status::unimplemented("a control plane of before multipart"))
    }

    async fn list_uploads(
        &self,
        _: Request<v1::ListUploadsRequest>,
    ) -> Result<Response<v1::ListUploadsReply>, Status> {
        Err(Status::unimplemented("a control plane of before multipart"))
    }

    async fn list_versions(
        &self,
        _: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsReply>, Status> {
        Err(Status::unimplemented("a control plane of before versions"))
    }

    async fn get_versioning(
        &self,
        _: Request<v1::GetVersioningRequest>,
    ) -> Result<Response<v1::GetVersioningReply>, Status> {
        Err(Status::unimplemented("a control plane of before versions"))
    }

    async fn set_versioning(
        &self,
        _: Request<v1::SetVersioningRequest>,
    ) -> Result<Response<v1::SetVersioningReply>, Status> {
        Err(Status::unimplemented("a control plane of before versions"))
    }

    async fn report_corruption(
        &self,
        request: Request<v1::ReportCorruptionRequest>,
    ) -> Result<Response<v1::ReportCorruptionReply>, Status> {
        self.with(|model| model.reports.push(request.into_inner().key));
        Ok(Response::new(v1::ReportCorruptionReply::default()))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListReply>, Status> {
        let request = request.into_inner();
        let model = self.0.lock().unwrap();
        let mut names = BTreeMap::new();
        for (key, located) in model.objects.iter().filter(|(key, _)| key.starts_with(&request.prefix)) {
            let rest = &key[request.prefix.len()..];
            let at = if request.delimiter.is_empty() { None } else { rest.find(&request.delimiter) };
            match at {
                Some(at) => {
                    names.insert(format!("{}{}", request.prefix, &rest[..at + request.delimiter.len()]), None)
                }
                None => names.insert(key.clone(), Some(located)),
            };
        }
        let all: Vec<_> = names.into_iter().filter(|(name, _)| *name > request.after).collect();
        let limit = request.max_keys as usize;
        let next = (all.len() > limit).then(|| all[limit - 1].0.clone());
        let entries = all.into_iter().take(limit).map(|(name, located)| {
            let entry = match located {
                None => v1::list_entry::Entry::CommonPrefix(name),
                Some(located) => v1::list_entry::Entry::Object(v1::ListedObject {
                    key: name,
                    size: located.size,
                    etag: located.etag.clone(),
                    modified_us: located.modified_us,
                    ..Default::default()
                }),
            };
            v1::ListEntry { entry: Some(entry) }
        });
        Ok(Response::new(v1::ListReply { entries: entries.collect(), next, required_features: vec![] }))
    }
}

impl Fake {
    /// Serves on a free port until the test ends.
    pub async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = DataPlaneServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// Tells everybody the configuration as it is now, as a newer one.
    pub fn reconfigure(&self) {
        self.with(|model| {
            model.generation += 1;
            let configuration = v1::session_down::Message::Configuration(model.configuration());
            let down = v1::SessionDown { message: Some(configuration), required_features: vec![] };
            model.sessions.retain(|session| session.send(down.clone()).is_ok());
        });
    }

    /// Looks at the state.
    pub fn with<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

/// A client of the data plane there, which sends everything once.
pub fn client(address: SocketAddr) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(format!("http://{address}"))
        .region(Region::new("us-east-1"))
        .force_path_style(true)
        .credentials_provider(aws_sdk_s3::config::Credentials::new("AK", "SK", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}
