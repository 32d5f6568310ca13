//! Which bucket a host name means.
//!
//! Invariant: only `bucket.domain` of a configured domain is virtual-host style; every other host,
//! known or not, is path style. A service name or an IP address is never taken for a bucket.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// The configured base domains, in lower case.
pub(crate) struct Domains(Vec<String>);

impl Domains {
    /// From configuration.
    pub(crate) fn new(domains: &[String]) -> Self {
        Self(domains.iter().map(|domain| domain.to_ascii_lowercase()).collect())
    }

    /// The bucket in a host name, if it is one of ours.
    pub(crate) fn bucket(&self, host: &str) -> Option<String> {
        let host = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        // The longest domain first: `a.b` and `b` may both be configured.
        let rests = self.0.iter().filter_map(|domain| host.strip_suffix(domain.as_str()));
        // Only whole labels: `evils3.example.com` is not under `s3.example.com`.
        let mut matching: Vec<_> = rests.filter(|rest| rest.is_empty() || rest.ends_with('.')).collect();
        matching.sort_by_key(|rest| rest.len());
        let rest = matching.first()?;
        rest.strip_suffix('.').filter(|bucket| !bucket.is_empty()).map(str::to_owned)
    }
}

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let virtual_host = VirtualHost::new(host);
        Ok(match self.bucket(host) {
            Some(bucket) => virtual_host.with_bucket(bucket),
            None => virtual_host,
        })
    }
}

/// Whether it can be a base domain: labels of letters, digits and `-`, no port.
pub(crate) fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(is_label)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_domains_name_buckets() {
        let domains = Domains::new(&["s3.example.com".to_owned(), "Example.com".to_owned()]);
        assert_eq!(domains.bucket("photos.s3.example.com:9000").as_deref(), Some("photos"));
        assert_eq!(domains.bucket("PHOTOS.S3.Example.Com").as_deref(), Some("photos"));
        assert_eq!(domains.bucket("a.b.s3.example.com.").as_deref(), Some("a.b"));
        for path_style in [
            "s3.example.com",
            "localhost:9000",
            "127.0.0.1:9000",
            "[::1]:9000",
            "other.org",
            "xs3.example.org",
            "",
        ] {
            assert_eq!(domains.bucket(path_style), None, "{path_style}");
        }
        assert_eq!(domains.bucket("evils3.example.com").as_deref(), Some("evils3"));
        assert_eq!(Domains::new(&[]).bucket("a.b.c"), None);
    }

    #[test]
    fn a_name_that_only_ends_alike_is_no_bucket() {
        assert_eq!(Domains::new(&["s3.example.com".to_owned()]).bucket("xs3.example.com"), None);
    }

    #[test]
    fn domains() {
        assert!(is_domain("s3.example.com"));
        for bad in ["", ".", "a..b", "a:9000", "http://a", "-a.b", "a b"] {
            assert!(!is_domain(bad), "{bad:?}");
        }
    }
}
