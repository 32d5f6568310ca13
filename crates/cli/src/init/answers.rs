//! What `init` needs to know: from flags, from a person, from defaults.
//!
//! Invariant: an answer that could not stand in the file is refused where it is given.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use s3o_runtime::ByteSize;
use s3o_types::BucketName;

const DATABASE_URL: &str = "postgres://s3o:s3o@127.0.0.1:5432/s3o";
const CONTROL_PLANE: &str = "http://127.0.0.1:9090";

/// A backend's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(super) name: String,
    pub(super) endpoint: String,
    pub(super) region: String,
    pub(super) bucket: String,
    /// As written: `100GiB`.
    pub(super) quota: Option<String>,
}

impl Backend {
    /// The environment variables with its access key id and secret.
    pub(super) fn variables(&self) -> [String; 2] {
        let word: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        [format!("S3O_{word}_ACCESS_KEY_ID"), format!("S3O_{word}_SECRET_ACCESS_KEY")]
    }
}

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) database_url: Option<String>,
    pub(super) backends: Vec<Backend>,
    pub(super) buckets: Vec<String>,
    pub(super) control_plane: Option<String>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) database_url: String,
    pub(super) backends: Vec<Backend>,
    pub(super) buckets: Vec<BucketName>,
    pub(super) control_plane: String,
}

impl Answers {
    /// Defaults for what nobody said. Backends have none.
    pub(super) fn complete(self) -> anyhow::Result<Complete> {
        if self.backends.is_empty() {
            bail!("at least one backend is needed: --backend name=…,endpoint=…,bucket=…");
        }
        let mut names: Vec<_> = self.backends.iter().map(|backend| &backend.name).collect();
        names.sort();
        let twice = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next);
        if let Some((name, _)) = twice {
            bail!("two backends are called `{name}`");
        }
        let buckets = if self.buckets.is_empty() { vec!["data".to_owned()] } else { self.buckets };
        let buckets =
            buckets.iter().map(|name| name.parse().map_err(anyhow::Error::msg)).collect::<Result<_, _>>()?;
        Ok(Complete {
            database_url: self.database_url.unwrap_or_else(|| DATABASE_URL.to_owned()),
            backends: self.backends,
            buckets,
            control_plane: self.control_plane.unwrap_or_else(|| CONTROL_PLANE.to_owned()),
        })
    }
}

/// `name=…,endpoint=…,bucket=…[,region=…][,quota=…]`.
pub(super) fn parse_backend(text: &str) -> Result<Backend, String> {
    let mut fields =
        [("name", None), ("endpoint", None), ("bucket", None), ("region", None), ("quota", None)];
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not field=value"))?;
        let field = fields.iter_mut().find(|(known, _)| *known == name.trim());
        let (_, field) =
            field.ok_or_else(|| format!("`{name}` is none of name, endpoint, bucket, region, quota"))?;
        *field = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
    }
    let [(_, name), (_, endpoint), (_, bucket), (_, region), (_, quota)] = fields;
    let needed = |value: Option<String>, what: &str| value.ok_or_else(|| format!("{what}=… is missing"));
    if let Some(quota) = &quota {
        quota.parse::<ByteSize>().map_err(|error| format!("quota: {error}"))?;
    }
    let endpoint = needed(endpoint, "endpoint")?;
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        return Err(format!("endpoint `{endpoint}` must begin with http:// or https://"));
    }
    Ok(Backend {
        name: needed(name, "name")?,
        endpoint,
        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
        bucket: needed(bucket, "bucket")?,
        quota,
    })
}

/// Asks for what no flag said.
pub(super) fn ask(answers: &mut Answers) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask on: give the answers as flags, with --yes");
    }
    if answers.database_url.is_none() {
        answers.database_url = Some(question("PostgreSQL URL", Some(DATABASE_URL))?);
    }
    if answers.backends.is_empty() {
        answers.backends = backends()?;
    }
    if answers.buckets.is_empty() {
        let names = question("Virtual buckets, separated by blanks", Some("data"))?;
        answers.buckets = names.split_whitespace().map(str::to_owned).collect();
    }
    if answers.control_plane.is_none() {
        answers.control_plane =
            Some(question("Address at which data planes reach the control plane", Some(CONTROL_PLANE))?);
    }
    Ok(())
}

fn backends() -> anyhow::Result<Vec<Backend>> {
    let mut backends: Vec<Backend> = Vec::new();
    loop {
        let what = if backends.is_empty() {
            "Name of the first backend"
        } else {
            "Name of another backend, empty for none"
        };
        let name = question(what, backends.is_empty().then_some("one"))?;
        if name.is_empty() {
            return Ok(backends);
        }
        let endpoint = question("  Endpoint, as https://s3.eu-central-1.amazonaws.com", None)?;
        let region = question("  Region", Some("us-east-1"))?;
        let bucket = question("  Bucket there", None)?;
        let quota = question("  Bytes that may be stored there, as 100GiB; empty for no limit", Some(""))?;
        match parse_backend(&format!(
            "name={name},endpoint={endpoint},region={region},bucket={bucket},quota={quota}"
        )) {
            Ok(backend) => backends.push(backend),
            Err(why) => crate::say(format_args!("  {why}; once more")),
        }
    }
}

/// Asks once; an empty answer is the default.
fn question(text: &str, default: Option<&str>) -> anyhow::Result<String> {
    let mut out = std::io::stdout();
    match default.filter(|default| !default.is_empty()) {
        Some(default) => write!(out, "{text} [{default}]: ")?,
        None => write!(out, "{text}: ")?,
    }
    out.flush()?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
    if read == 0 {
        bail!("the answers ended");
    }
    let line = line.trim();
    Ok(if line.is_empty() { default.unwrap_or_default() } else { line }.to_owned())
}
