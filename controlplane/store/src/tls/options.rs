//! What a URL says about TLS. The driver knows `disable`, `prefer` and `require` only, and none of the
//! files; so these options are taken out before it reads the rest.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::SslMode;

/// `sslmode`, as libpq has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    Disable,
    /// libpq's default.
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Mode {
    /// What the driver is told; the rest is the verifier's.
    pub(crate) const fn driver(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::VerifyCa | Self::VerifyFull => SslMode::Require,
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        match word {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            other => {
                Err(format!("sslmode: `{other}` is none of disable, prefer, require, verify-ca, verify-full"))
            }
        }
    }
}

/// The options about TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TlsOptions {
    pub(crate) mode: Mode,
    /// Authorities that are trusted; those of the system where it is not given.
    pub(crate) root_cert: Option<PathBuf>,
    /// Our own certificate.
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
}

/// The options as they are read, one after the other.
#[derive(Default)]
struct Reading {
    mode: Option<Mode>,
    /// `sslrootcert=system`.
    system: bool,
    options: TlsOptions,
}

impl Reading {
    /// Whether the option is about TLS. As in libpq the last one counts, and an empty one is not given.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let file = || Some(value).filter(|value| !value.is_empty()).map(PathBuf::from);
        match name {
            "sslmode" => self.mode = Some(Mode::parse(value)?),
            "sslrootcert" => {
                self.system = value == "system";
                self.options.root_cert = file().filter(|_| !self.system);
            }
            "sslcert" => self.options.cert = file(),
            "sslkey" => self.options.key = file(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Anybody can have a certificate of the system's authorities, for a name of their own. So, as in libpq,
    /// whoever names these gets `verify-full`, and may not ask for less ("Client Verification of Server
    /// Certificates" in PostgreSQL's manual).
    fn finish(self) -> Result<TlsOptions, String> {
        let Self { mode, system, options } = self;
        let mode = match mode {
            None if system => Mode::VerifyFull,
            Some(weak) if system && weak != Mode::VerifyFull => {
                return Err("sslrootcert: `system` goes with sslmode=verify-full only".to_owned());
            }
            other => other.unwrap_or_default(),
        };
        Ok(TlsOptions { mode, ..options })
    }
}

/// The URL, or libpq's `key=value` form, without the options about TLS, and these.
pub(crate) fn split(url: &str) -> Result<(String, TlsOptions), String> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        split_url(url)
    } else {
        split_pairs(url)
    }
}

fn split_url(url: &str) -> Result<(String, TlsOptions), String> {
    let mut options = Reading::default();
    // The driver reads credentials to the first `@`: what stands before is no query.
    let from = url.find('@').unwrap_or(0);
    let Some(at) = url[from..].find('?').map(|n| from + n) else {
        return Ok((url.to_owned(), options.finish()?));
    };
    let mut rest = Vec::new();
    for pair in url[at + 1..].split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8().map_err(|_| format!("{name}: is not UTF-8"))?;
        if !options.take(name, &value)? {
            rest.push(pair);
        }
    }
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    Ok((format!("{}{query}", &url[..at]), options.finish()?))
}

fn split_pairs(text: &str) -> Result<(String, TlsOptions), String> {
    let mut options = Reading::default();
    let mut kept = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        // Whatever is no pair is left to the driver, which says what is wrong.
        let Some((name, after)) = rest.split_once('=') else {
            kept.push(rest);
            break;
        };
        let (value, after) = pair_value(after.trim_start());
        if !options.take(name.trim(), &value)? {
            kept.push(rest[..rest.len() - after.len()].trim_end());
        }
        rest = after.trim_start();
    }
    Ok((kept.join(" "), options.finish()?))
}

/// The value at the start of `text`, and what follows it: to the next blank, or in single quotes; a
/// backslash takes the next character as it is.
fn pair_value(text: &str) -> (String, &str) {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => return (value, &text[at + 1..]),
            c if c.is_whitespace() && !quoted => return (value, &text[at..]),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_split() {
        let all = TlsOptions {
            mode: Mode::VerifyFull,
            root_cert: Some("/a b/ca.crt".into()),
            cert: Some("c".into()),
            key: Some("k".into()),
        };
        let url = "postgres://u:a?sslmode=x@h1,h2:5433/d?sslmode=verify-full&connect_timeout=1\
                   &sslrootcert=%2Fa%20b/ca.crt&sslcert=c&sslkey=k&application_name=me";
        let kept = "postgres://u:a?sslmode=x@h1,h2:5433/d?connect_timeout=1&application_name=me";
        assert_eq!(split(url), Ok((kept.to_owned(), all.clone())));
        let pairs = r"host=h user = u sslrootcert='/a b/ca.crt' password='it\'s = x' sslmode=verify-full sslcert=c sslkey=k";
        assert_eq!(split(pairs), Ok((r"host=h user = u password='it\'s = x'".to_owned(), all)));
    }

    #[test]
    fn nothing_said_is_libpqs_default() {
        for url in ["postgres://u@h/d", "postgresql:///d?user=u", "host=h user=u", ""] {
            assert_eq!(split(url), Ok((url.to_owned(), TlsOptions::default())));
        }
    }

    #[test]
    fn the_systems_authorities_are_trusted_for_names_only() {
        let full = TlsOptions { mode: Mode::VerifyFull, ..TlsOptions::default() };
        for url in
            ["postgres://h/d?sslrootcert=system", "postgres://h/d?sslrootcert=system&sslmode=verify-full"]
        {
            assert_eq!(split(url), Ok(("postgres://h/d".to_owned(), full.clone())));
        }
        for mode in ["disable", "prefer", "require", "verify-ca"] {
            let why = split(&format!("host=h sslmode={mode} sslrootcert=system")).expect_err(mode);
            assert!(why.starts_with("sslrootcert: "), "{why}");
        }
        // The last one counts.
        let (_, options) = split("postgres://h/d?sslrootcert=system&sslrootcert=/ca").expect("a file");
        assert_eq!((options.mode, options.root_cert), (Mode::Prefer, Some("/ca".into())));
    }

    #[test]
    fn an_unknown_mode_is_named() {
        for url in ["postgres://h/d?sslmode=allow", "host=h sslmode=allow"] {
            let why = split(url).expect_err("an unknown mode");
            assert!(why.starts_with("sslmode: `allow`"), "{why}");
        }
    }
}
