//! What is said of a backend that was asked what it can do.

/// What a thing that was asked came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeVerdict {
    /// As it is configured, it works.
    Ok,
    /// It works only with the setting that is named.
    Needs,
    /// It does not work, and no setting helps.
    Unsupported,
    /// It could not be seen.
    Unknown,
}

impl ProbeVerdict {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Needs => "needs",
            Self::Unsupported => "unsupported",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFinding {
    /// What: the setting's name, where there is one.
    pub name: &'static str,
    /// What it came to.
    pub verdict: ProbeVerdict,
    /// For people: what was seen, and what it means where no setting helps.
    pub detail: String,
    /// A line for the backend's declaration in YAML, where another one than now is needed or better.
    pub setting: Option<String>,
}

impl ProbeFinding {
    fn new(name: &'static str, verdict: ProbeVerdict, detail: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into(), setting: None }
    }

    /// It works.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, ProbeVerdict::Ok, detail)
    }

    /// It works with a setting.
    pub fn needs(name: &'static str, detail: impl Into<String>, setting: String) -> Self {
        Self { setting: Some(setting), ..Self::new(name, ProbeVerdict::Needs, detail) }
    }

    /// It does not work.
    pub fn unsupported(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, ProbeVerdict::Unsupported, detail)
    }

    /// It could not be seen.
    pub fn unknown(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, ProbeVerdict::Unknown, detail)
    }

    /// The same with another setting.
    #[must_use]
    pub fn with_setting(self, setting: Option<String>) -> Self {
        Self { setting, ..self }
    }
}
