//! The one error type: a stable kind for code, a sentence for people.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// What a caller would do differently. Stable: tests and exit codes match kinds, never texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// An argument or option makes no sense; nothing was touched.
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    NoSpace,
    /// Any other failure of the operating system.
    Io,
    /// A store does not answer, or wants fewer requests; the same again may work later.
    Unavailable,
    /// The file is not a vark archive at all.
    NotAnArchive,
    /// An archive whose bytes are not what was written, or break the specification.
    Damaged,
    /// Needs a newer reader (version, feature bit, codec).
    Unsupported,
    /// Over a ceiling of `limits.rs`, or of the caller (`max_bytes`, memory).
    LimitExceeded,
    /// The source changed, shrank or failed while it was read.
    SourceChanged,
    /// A source file that does not parse as the layout it starts like.
    Malformed,
    Cancelled,
    /// Encrypted, and nothing was given that could open it.
    KeyNeeded,
    /// Encrypted, and what was given does not open it.
    WrongKey,
}

impl ErrorKind {
    pub const ALL: [ErrorKind; 16] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::NoSpace,
        Self::Io,
        Self::Unavailable,
        Self::NotAnArchive,
        Self::Damaged,
        Self::Unsupported,
        Self::LimitExceeded,
        Self::SourceChanged,
        Self::Malformed,
        Self::Cancelled,
        Self::KeyNeeded,
        Self::WrongKey,
    ];

    /// The kind that has this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The stable code shown to programs (`--json`, `VarkError.code`).
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::PermissionDenied => "permission-denied",
            Self::NoSpace => "no-space",
            Self::Io => "io",
            Self::Unavailable => "unavailable",
            Self::NotAnArchive => "not-an-archive",
            Self::Damaged => "damaged",
            Self::Unsupported => "unsupported",
            Self::LimitExceeded => "limit-exceeded",
            Self::SourceChanged => "source-changed",
            Self::Malformed => "malformed",
            Self::Cancelled => "cancelled",
            Self::KeyNeeded => "key-needed",
            Self::WrongKey => "wrong-key",
        }
    }
}

/// The layer that refuses an archive (spec, section 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    Header,
    Trailer,
    Directory,
    Index,
    Block,
    Seal,
    Padding,
    Codec,
    Digest,
    Metadata,
    Plan,
}

impl Layer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Trailer => "trailer",
            Self::Directory => "directory",
            Self::Index => "index",
            Self::Block => "block",
            Self::Seal => "seal",
            Self::Padding => "padding",
            Self::Codec => "codec",
            Self::Digest => "digest",
            Self::Metadata => "metadata",
            Self::Plan => "plan",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    layer: Option<Layer>,
    place: String,
    detail: String,
}

impl Error {
    /// `place`: where; `detail`: expected, found, and what to do.
    pub fn new(kind: ErrorKind, place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, layer: None, place: place.into(), detail: detail.into() }
    }

    pub fn damaged(layer: Layer, place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { layer: Some(layer), ..Self::new(ErrorKind::Damaged, place, detail) }
    }

    pub fn unsupported(layer: Layer, place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { layer: Some(layer), ..Self::new(ErrorKind::Unsupported, place, detail) }
    }

    /// The same fault of a layer.
    #[must_use]
    pub fn at(self, layer: Layer) -> Self {
        Self { layer: Some(layer), ..self }
    }

    pub fn malformed(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, place, detail)
    }

    pub fn io(place: impl Into<String>, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Os;
        let kind = match error.kind() {
            Os::NotFound => ErrorKind::NotFound,
            Os::AlreadyExists => ErrorKind::AlreadyExists,
            Os::PermissionDenied => ErrorKind::PermissionDenied,
            Os::StorageFull | Os::QuotaExceeded | Os::FileTooLarge => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        };
        Self::new(kind, place, error.to_string())
    }

    /// The same fault, said from further out: `outer` goes before the place.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.place = if self.place.is_empty() { outer.to_owned() } else { format!("{outer}: {}", self.place) };
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn layer(&self) -> Option<Layer> {
        self.layer
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() { write!(f, "{}", self.detail) } else { write!(f, "{}: {}", self.place, self.detail) }
    }
}

impl std::error::Error for Error {}

/// A length that must fit the address space.
///
/// # Errors
/// `LimitExceeded` on machines whose `usize` is smaller.
pub fn to_usize(value: u64, place: &str) -> Result<usize> {
    usize::try_from(value).map_err(|_| {
        Error::new(
            ErrorKind::LimitExceeded,
            place,
            format!("{value} bytes do not fit the address space of this machine"),
        )
    })
}
