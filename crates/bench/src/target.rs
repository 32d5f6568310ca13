//! What is measured: an S3 endpoint by its URL, and the processes that serve it.
//!
//! A target is given as `NAME=URL,ACCESS,SECRET,BUCKET`, with `,region=…` and any number of `,pid=…`:
//! the CPU and memory of these processes and their children are measured with it.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::procs::Groups;
use crate::sign::Signer;

/// Where nothing else is said.
const REGION: &str = "us-east-1";

/// A rival, as it stands on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetSpec {
    pub(crate) name: String,
    /// Host and port.
    pub(crate) authority: String,
    pub(crate) access_key: String,
    pub(crate) secret: String,
    pub(crate) bucket: String,
    pub(crate) region: String,
    /// Roots of the trees that serve it.
    pub(crate) pids: Vec<u32>,
}

impl std::str::FromStr for TargetSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').context("NAME=URL,ACCESS,SECRET,BUCKET: there is no `=`")?;
        let mut fields = rest.split(',').map(str::trim);
        let mut next = |what: &str| {
            let field = fields.next().filter(|field| !field.is_empty());
            field.map(str::to_owned).with_context(|| format!("{name}: {what} is missing"))
        };
        let (url, access_key, secret, bucket) =
            (next("URL")?, next("ACCESS")?, next("SECRET")?, next("BUCKET")?);
        let (mut region, mut pids) = (REGION.to_owned(), Vec::new());
        for option in fields {
            match option.split_once('=') {
                Some(("region", value)) => value.clone_into(&mut region),
                Some(("pid", value)) => {
                    pids.push(
                        value.parse().with_context(|| format!("{name}: pid={value} is no process id"))?,
                    );
                }
                _ => bail!("{name}: `{option}` is neither region=… nor pid=…"),
            }
        }
        if name.is_empty() || ["direct", "nginx"].contains(&name) || name.starts_with("ours") {
            bail!("`{name}` cannot be a target's name: direct, nginx and ours are taken");
        }
        Ok(Self {
            name: name.to_owned(),
            authority: authority(&url)?,
            access_key,
            secret,
            bucket,
            region,
            pids,
        })
    }
}

/// `http://host:port` → `host:port`.
fn authority(url: &str) -> Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("`{url}`: only http:// is spoken; TLS would measure the loader's ciphers too")
    };
    let authority = rest.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        bail!("`{url}` must be http://host:port, without a path");
    }
    Ok(if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") })
}

/// An endpoint to measure.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Connections go to these in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The `Host` of every request.
    pub(crate) host: String,
    pub(crate) access_key: String,
    pub(crate) secret: String,
    pub(crate) region: String,
    pub(crate) bucket: String,
    /// Whose CPU and memory belong to it.
    pub(crate) groups: Groups,
    /// HTTP listeners of its control planes.
    pub(crate) metrics: Vec<SocketAddr>,
    /// It is the null backend, or something in front of it that passes everything on: what a scenario
    /// left behind is forgotten there.
    pub(crate) is_null: bool,
}

impl Target {
    /// A rival. Its name is resolved once.
    pub(crate) fn rival(spec: TargetSpec) -> Result<Self> {
        let TargetSpec { name, authority, access_key, secret, bucket, region, pids } = spec;
        let resolved =
            authority.to_socket_addrs().with_context(|| format!("{name}: resolving {authority}"))?;
        let addresses: Vec<SocketAddr> = resolved.take(1).collect();
        if addresses.is_empty() {
            bail!("{name}: {authority} has no address");
        }
        let host = authority.strip_suffix(":80").unwrap_or(&authority).to_owned();
        let groups = Groups { front: pids, ..Groups::default() };
        let metrics = Vec::new();
        Ok(Self {
            name,
            addresses,
            host,
            access_key,
            secret,
            region,
            bucket,
            groups,
            metrics,
            is_null: false,
        })
    }

    /// A signer whose stamp is of now.
    pub(crate) fn signer(&self) -> Signer {
        Signer::new(&self.access_key, &self.secret, &self.region, &self.host, clock::amz_now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_targets() {
        let spec: TargetSpec =
            "go=http://127.0.0.1:9000/,AK,S/+=x,data,region=eu-1,pid=7,pid=8".parse().expect("a target");
        let wanted = TargetSpec {
            name: "go".into(),
            authority: "127.0.0.1:9000".into(),
            access_key: "AK".into(),
            secret: "S/+=x".into(),
            bucket: "data".into(),
            region: "eu-1".into(),
            pids: vec![7, 8],
        };
        assert_eq!(spec, wanted);
        let target = Target::rival(spec).expect("an address");
        assert_eq!((target.host.as_str(), target.groups.front), ("127.0.0.1:9000", vec![7, 8]));
        let bare: TargetSpec = "m=http://localhost,a,s,b".parse().expect("a target");
        assert_eq!((bare.authority.as_str(), bare.region.as_str()), ("localhost:80", "us-east-1"));
        assert_eq!(Target::rival(bare).expect("an address").host, "localhost");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("http://h,a,s,b", "no `=`"),
            ("m=http://h,a,s", "BUCKET is missing"),
            ("m=http://h,,s,b", "ACCESS is missing"),
            ("m=https://h,a,s,b", "only http://"),
            ("m=http://h/path,a,s,b", "without a path"),
            ("m=http://h,a,s,b,pid=x", "no process id"),
            ("m=http://h,a,s,b,what=x", "neither"),
            ("nginx=http://h,a,s,b", "taken"),
            ("ours-2=http://h,a,s,b", "taken"),
        ] {
            let error = text.parse::<TargetSpec>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
