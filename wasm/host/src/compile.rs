//! From a file to native code: two at a time, on threads of their own.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::aot::{Cache, Compiled, sha256};
use crate::engine::Engine;
use crate::limits;

/// Modules compiled at once.
const AT_ONCE: usize = 2;

/// Compiles modules.
#[derive(Debug)]
pub(crate) struct Compiler {
    engine: Arc<Engine>,
    turns: Arc<Semaphore>,
}

/// A binary and its name.
#[derive(Clone)]
pub(crate) struct Binary {
    pub(crate) bytes: Bytes,
    pub(crate) sha256: String,
}

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("cannot read {path}: {error}")]
    Read { path: String, error: io::Error },
    #[error("{0} is larger than 32 MiB")]
    TooLarge(String),
    #[error("compiling took longer than three minutes")]
    Slow,
    #[error("others were being compiled for ten minutes")]
    Busy,
    #[error("is no WebAssembly {0}: {1}")]
    Invalid(&'static str, String),
    #[error("compiling failed")]
    Panicked,
}

impl Compiler {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What a binary is compiled to: from the cache, or made now.
    pub(crate) async fn compiled<C: Compiled>(
        &self,
        binary: Binary,
        cache: Option<Arc<Cache>>,
    ) -> Result<C, CompileError> {
        let engine = Arc::clone(&self.engine);
        self.run(move || load(engine.wasmtime(), &binary, cache.as_deref())).await?
    }

    /// Runs work that takes its time on one of the threads for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CompileError> {
        // A work that does not end keeps its turn, so waiting for one has an end as well.
        let turn = timeout(limits::COMPILE_TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| CompileError::Busy)?.map_err(|_| CompileError::Panicked)?;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        let done = timeout(limits::COMPILE, task).await.map_err(|_| CompileError::Slow)?;
        done.map_err(|_| CompileError::Panicked)
    }
}

fn load<C: Compiled>(
    engine: &wasmtime::Engine,
    binary: &Binary,
    cache: Option<&Cache>,
) -> Result<C, CompileError> {
    if let Some(compiled) = cache.and_then(|cache| cache.load(engine, &binary.sha256)) {
        return Ok(compiled);
    }
    // Some of its messages run over several lines.
    let told = |error: wasmtime::Error| format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    let compiled = C::compile(engine, &binary.bytes);
    let compiled = compiled.map_err(|error| CompileError::Invalid(C::WHAT, told(error)))?;
    if let Some(Err(error)) = cache.map(|cache| cache.store(engine, &binary.sha256, &compiled)) {
        tracing::warn!(%error, "a compiled module could not be kept");
    }
    Ok(compiled)
}

/// Reads a module's file.
pub(crate) fn read(path: &Path) -> Result<Binary, CompileError> {
    let unread = |error| CompileError::Read { path: path.display().to_string(), error };
    let bytes = content(path).map_err(unread)?;
    if bytes.len() as u64 > limits::MAX_FILE {
        return Err(CompileError::TooLarge(path.display().to_string()));
    }
    Ok(Binary { sha256: sha256(&bytes), bytes: bytes.into() })
}

/// At most one byte more than a module may have.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would have us wait for its other end.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limits::MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_of_a_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, expected: &str| {
            let error = read(path).map(|_| ()).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        };
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        check(&pipe, "it is no regular file");
        check(Path::new("/dev/zero"), "it is no regular file");
        check(folder.path(), "it is no regular file");
        let large = folder.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(limits::MAX_FILE + 1).unwrap();
        check(&large, "is larger than 32 MiB");
        std::fs::File::create(&large).unwrap().set_len(limits::MAX_FILE).unwrap();
        assert_eq!(read(&large).map(|binary| binary.bytes.len() as u64).ok(), Some(limits::MAX_FILE));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_has_an_end() {
        let compiler = Compiler::new(Arc::new(Engine::new().unwrap()));
        let _busy = Arc::clone(&compiler.turns).acquire_many_owned(2).await.unwrap();
        assert!(matches!(compiler.run(|| ()).await, Err(CompileError::Busy)));
    }
}
