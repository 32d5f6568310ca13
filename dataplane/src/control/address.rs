//! An address of the control plane as it stands in the file.

/// `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// Reads one; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("`{text}` must begin with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!("`{text}` must have no path"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            // Not repeated: there may be a password in it.
            return Err("must have no user: the control plane knows a data plane by its token".to_owned());
        }
        let host = uri.host().ok_or_else(|| format!("`{text}` names no host"))?;
        let port = uri.port_u16().ok_or_else(|| format!("`{text}` names no port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { tls, host, port })
    }

    /// As a URL with this authority.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            format!("{scheme}://[{}]:{}", self.host, self.port)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address = Address::parse("https://cp.example.com:9090").expect("good");
        assert_eq!((address.tls, address.host.as_str(), address.port), (true, "cp.example.com", 9090));
        assert_eq!(Address::parse("http://[::1]:80/").expect("good").url(), "http://[::1]:80");
        for bad in ["", "cp:9090", "cp", "http://cp", "ftp://cp:1", "http://cp:1/path", "http://me@cp:1"] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }
}
