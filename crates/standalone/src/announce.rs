//! What is told when everything serves: to a person, and to scripts by the ready file.
//!
//! Invariant: nothing is told before a request would be answered, and the ready file is never half
//! written. It holds secrets and has mode 0600.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::state::write_whole;

/// A standalone that serves.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Where S3 is spoken, `http://host:port`.
    pub endpoint: String,
    /// A bucket that is there.
    pub bucket: String,
    /// Its key.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: String,
    /// The control plane's HTTP: health and metrics.
    pub admin_url: String,
    /// The control plane's gRPC, `host:port`.
    pub grpc_addr: String,
    /// For the admin service.
    pub admin_token: String,
    /// Our process, then PostgreSQL's first one.
    pub pids: Vec<u32>,
}

impl Ready {
    /// Writes the ready file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_whole(path, &serde_json::to_vec_pretty(self)?)
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint,
            bucket,
            access_key_id,
            secret_access_key,
            admin_url,
            grpc_addr,
            admin_token,
            pids: _,
        } = self;
        write!(
            f,
            r#"
s3-orchestrator is ready.

  S3 endpoint        {endpoint}
  bucket             {bucket}
  access key id      {access_key_id}
  secret access key  {secret_access_key}
  health, metrics    {admin_url}/health  {admin_url}/metrics
  admin gRPC         {grpc_addr}

awscli:
  export AWS_ACCESS_KEY_ID={access_key_id} AWS_SECRET_ACCESS_KEY={secret_access_key} AWS_DEFAULT_REGION=us-east-1
  aws --endpoint-url {endpoint} s3 cp README.md s3://{bucket}/
  aws --endpoint-url {endpoint} s3 ls s3://{bucket}/

boto3:
  import boto3
  s3 = boto3.client("s3", endpoint_url="{endpoint}", region_name="us-east-1",
                    aws_access_key_id="{access_key_id}", aws_secret_access_key="{secret_access_key}")
  s3.put_object(Bucket="{bucket}", Key="hello.txt", Body=b"hello")

rclone:
  rclone copy README.md :s3:{bucket} --s3-provider Other --s3-endpoint {endpoint} \
    --s3-access-key-id {access_key_id} --s3-secret-access-key {secret_access_key}

status:
  S3O_ADMIN_TOKEN={admin_token} s3o status --endpoint http://{grpc_addr}

Ctrl-C ends it; what is stored stays.
"#
        )
    }
}
