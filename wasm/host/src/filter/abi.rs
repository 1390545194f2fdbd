//! The numbers of proxy-wasm.

/// What a host call answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
}

impl Status {
    pub(crate) const fn code(self) -> u32 {
        self as u32
    }
}

/// Which version a module says it was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V0_1_0,
    V0_2_0,
    V0_2_1,
}

impl Version {
    /// The newest of those a module has the mark of.
    pub(crate) fn of(module: &wasmtime::Module) -> Option<Self> {
        let marks = [
            ("proxy_abi_version_0_2_1", Self::V0_2_1),
            ("proxy_abi_version_0_2_0", Self::V0_2_0),
            ("proxy_abi_version_0_1_0", Self::V0_1_0),
        ];
        marks.into_iter().find(|(mark, _)| module.get_export(mark).is_some()).map(|(_, version)| version)
    }
}

/// The four header maps of a stream, and those of what an answer to a call brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
    ResponseTrailers,
    GrpcInitial,
    GrpcTrailing,
    CallHeaders,
    CallTrailers,
}

impl Map {
    pub(crate) fn of(number: u32) -> Result<Self, Status> {
        Ok(match number {
            0 => Self::RequestHeaders,
            1 => Self::RequestTrailers,
            2 => Self::ResponseHeaders,
            3 => Self::ResponseTrailers,
            4 => Self::GrpcInitial,
            5 => Self::GrpcTrailing,
            6 => Self::CallHeaders,
            7 => Self::CallTrailers,
            _ => return Err(Status::BadArgument),
        })
    }
}

/// What `get_buffer_bytes` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffer {
    RequestBody,
    ResponseBody,
    Downstream,
    Upstream,
    CallBody,
    GrpcMessage,
    VmConfig,
    PluginConfig,
    /// What a function says its id is. For filters it would be what foreign functions call back with, and none does.
    CallData,
}

impl Buffer {
    pub(crate) fn of(number: u32) -> Result<Self, Status> {
        Ok(match number {
            0 => Self::RequestBody,
            1 => Self::ResponseBody,
            2 => Self::Downstream,
            3 => Self::Upstream,
            4 => Self::CallBody,
            5 => Self::GrpcMessage,
            6 => Self::VmConfig,
            7 => Self::PluginConfig,
            8 => Self::CallData,
            _ => return Err(Status::BadArgument),
        })
    }
}

/// The two directions of a stream: of a request what is sent to the server and what comes back, and so of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

impl Side {
    /// Requests and connections have numbers of their own.
    pub(crate) fn of(number: u32, of_connection: bool) -> Result<Self, Status> {
        match (number, of_connection) {
            (0, false) | (2, true) => Ok(Self::Request),
            (1, false) | (3, true) => Ok(Self::Response),
            (0..=3, _) => Err(Status::NotFound),
            _ => Err(Status::BadArgument),
        }
    }
}

/// What a callback about a message wants to happen with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Continue,
    Pause,
}

impl Action {
    /// There are finer ways to pause in one SDK; all of them pause. A filter that is not called for a part lets it go.
    pub(crate) fn of(answer: Option<u32>) -> Self {
        if answer.unwrap_or_default() == 0 { Self::Continue } else { Self::Pause }
    }
}
