//! Compiled modules on disk, so that a restart does not compile again.
//!
//! What is loaded from here runs as native code, so the folder has to be ours alone, and a file that is not to the last
//! byte what we wrote counts as absent. Files are read whole and not mapped: one that is cut short under our hands
//! cannot hurt.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Files that are kept: those used last.
const KEPT: usize = 64;
/// What is still being written is not that old.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Compiled modules by what they were compiled from, and by what.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// A folder that others can write to, or read.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let facts = fs::symlink_metadata(&folder)?;
        let ours = facts.is_dir() && facts.uid() == rustix::process::geteuid().as_raw();
        if !ours || facts.mode() & 0o077 != 0 {
            let message = format!("{} must be a folder of ours with mode 0700", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(Self { folder })
    }

    /// Where the XDG base directory specification has caches.
    pub(crate) fn usual(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
        let directory = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")));
        Some(caches?.join("outrigger/wasm"))
    }

    /// What was compiled from the binary of this digest, if we have it.
    pub(crate) fn load<C: Compiled>(&self, engine: &Engine, sha256: &str) -> Option<C> {
        let path = self.path::<C>(engine, sha256);
        let file = fs::read(&path).ok()?;
        let Some(code) = intact(&file) else {
            tracing::warn!(path = %path.display(), "a compiled module is damaged; compiling again");
            return None;
        };
        // Those that are in use are kept. If we may not say so, it is compiled again some day.
        File::open(&path).and_then(|file| file.set_modified(SystemTime::now())).ok();
        let loaded = C::load(engine, code);
        loaded.map_err(|error| tracing::warn!(path = %path.display(), %error, "compiling again")).ok()
    }

    /// Keeps what was compiled. Others may be reading the same file, so it appears whole or not at all.
    pub(crate) fn store<C: Compiled>(&self, engine: &Engine, sha256: &str, compiled: &C) -> io::Result<()> {
        let code = compiled.code().map_err(io::Error::other)?;
        let temporary = self.folder.join(format!(".{:016x}", fastrand::u64(..)));
        let written =
            write(&temporary, &code).and_then(|()| fs::rename(&temporary, self.path::<C>(engine, sha256)));
        written.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        self.tidy()
    }

    /// Removes the oldest files where there are many, and what writers left that were killed.
    fn tidy(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            // Another process may be tidying too.
            let Ok(written) = fs::symlink_metadata(&path).and_then(|facts| facts.modified()) else {
                continue;
            };
            let is_abandoned = || written.elapsed().is_ok_and(|age| age > ABANDONED);
            if path.extension().is_some_and(|extension| extension == "aot") {
                kept.push((written, path));
            } else if is_temporary(&path) && is_abandoned() {
                remove(&path)?;
            }
        }
        kept.sort_unstable();
        let excess = kept.len().saturating_sub(KEPT);
        kept.iter().take(excess).try_for_each(|(_, path)| remove(path))
    }

    fn path<C: Compiled>(&self, engine: &Engine, sha256: &str) -> PathBuf {
        let mut by = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut by);
        self.folder.join(format!("{sha256}-{:016x}{}.aot", by.finish(), C::MARK))
    }
}

/// What binaries are compiled to. Files of one kind are never taken for the other.
pub(crate) trait Compiled: Sized + Send + 'static {
    /// As people call it.
    const WHAT: &'static str;
    /// Tells its files from others'.
    const MARK: &'static str;

    fn compile(engine: &Engine, binary: &[u8]) -> wasmtime::Result<Self>;

    fn code(&self) -> wasmtime::Result<Vec<u8>>;

    fn load(engine: &Engine, code: Intact<'_>) -> wasmtime::Result<Self>;
}

impl Compiled for Module {
    const WHAT: &'static str = "module";
    const MARK: &'static str = "";

    fn compile(engine: &Engine, binary: &[u8]) -> wasmtime::Result<Self> {
        Self::new(engine, binary)
    }

    fn code(&self) -> wasmtime::Result<Vec<u8>> {
        self.serialize()
    }

    fn load(engine: &Engine, code: Intact<'_>) -> wasmtime::Result<Self> {
        #[expect(unsafe_code, reason = "our own folder, our own file, and every byte of it as we wrote it")]
        unsafe {
            Self::deserialize(engine, code.0)
        }
    }
}

impl Compiled for Component {
    const WHAT: &'static str = "component";
    const MARK: &'static str = "-component";

    fn compile(engine: &Engine, binary: &[u8]) -> wasmtime::Result<Self> {
        Self::new(engine, binary)
    }

    fn code(&self) -> wasmtime::Result<Vec<u8>> {
        self.serialize()
    }

    fn load(engine: &Engine, code: Intact<'_>) -> wasmtime::Result<Self> {
        #[expect(unsafe_code, reason = "our own folder, our own file, and every byte of it as we wrote it")]
        unsafe {
            Self::deserialize(engine, code.0)
        }
    }
}

/// Code from our own folder, to the last byte as we wrote it.
pub(crate) struct Intact<'c>(&'c [u8]);

/// Whether it is named as [`Cache::store`] names what it has not finished.
fn is_temporary(path: &Path) -> bool {
    let digits = path.file_name().and_then(|name| name.to_str()?.strip_prefix('.'));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The code without its digest, which stands at the end.
fn intact(file: &[u8]) -> Option<Intact<'_>> {
    let (code, sum) = file.split_at_checked(file.len().checked_sub(SHA256_OUTPUT_LEN)?)?;
    (digest(&SHA256, code).as_ref() == sum).then_some(Intact(code))
}

fn write(path: &Path, code: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(code)?;
    file.write_all(digest(&SHA256, code).as_ref())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache, Engine) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("wasm")).unwrap();
        (folder, cache, Engine::default())
    }

    fn module(engine: &Engine) -> Module {
        Module::new(engine, wat::parse_str("(module (func (export \"f\")))").unwrap()).unwrap()
    }

    #[test]
    fn what_was_stored_is_loaded_and_nothing_else() {
        let (_folder, cache, engine) = cache();
        assert!(cache.load::<Module>(&engine, "a").is_none());
        cache.store(&engine, "a", &module(&engine)).unwrap();
        assert!(cache.load(&engine, "a").is_some_and(|module: Module| module.get_export("f").is_some()));
        assert!(cache.load::<Module>(&engine, "b").is_none());
        let mut config = wasmtime::Config::new();
        let other = Engine::new(config.epoch_interruption(true)).unwrap();
        assert!(cache.load::<Module>(&other, "a").is_none(), "another engine compiles otherwise");
    }

    #[test]
    fn a_module_is_never_taken_for_a_component() {
        let (_folder, cache, engine) = cache();
        cache.store(&engine, "a", &module(&engine)).unwrap();
        assert!(cache.load::<Component>(&engine, "a").is_none());
        let component = Component::new(&engine, wat::parse_str("(component)").unwrap()).unwrap();
        cache.store(&engine, "a", &component).unwrap();
        assert!(
            cache.load::<Component>(&engine, "a").is_some() && cache.load::<Module>(&engine, "a").is_some()
        );
        fs::copy(cache.path::<Module>(&engine, "a"), cache.path::<Component>(&engine, "a")).unwrap();
        assert!(cache.load::<Component>(&engine, "a").is_none(), "whatever its name says");
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let (_folder, cache, engine) = cache();
        cache.store(&engine, "a", &module(&engine)).unwrap();
        let path = cache.path::<Module>(&engine, "a");
        let whole = fs::read(&path).unwrap();
        let damages: [fn(&mut Vec<u8>); 4] = [
            |file| file.truncate(file.len() / 2),
            |file| file.clear(),
            |file| file[100] ^= 1,
            |file| file.extend([0; 9]),
        ];
        for damage in damages {
            let mut file = whole.clone();
            damage(&mut file);
            fs::write(&path, file).unwrap();
            assert!(cache.load::<Module>(&engine, "a").is_none());
        }
        cache.store(&engine, "a", &module(&engine)).unwrap();
        assert!(cache.load::<Module>(&engine, "a").is_some());
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn the_oldest_files_make_room() {
        let (_folder, cache, engine) = cache();
        let at = |name: &str, age: u64| {
            let file = File::create(cache.folder.join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        (0..KEPT as u64).for_each(|i| at(&format!("{i}.aot"), 10_000 - i));
        at(".0123456789abcdef", 4_000);
        at(".fedcba9876543210", 10);
        at("of somebody else", 10_000);
        cache.store(&engine, "a", &module(&engine)).unwrap();
        let there = |name: &str| cache.folder.join(name).exists();
        assert_eq!(
            (there("0.aot"), there("1.aot"), cache.path::<Module>(&engine, "a").exists()),
            (false, true, true)
        );
        assert_eq!((there(".0123456789abcdef"), there(".fedcba9876543210")), (false, true));
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), KEPT + 2);
    }

    #[test]
    fn a_folder_others_can_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o755, 0o770, 0o701] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                Cache::open(folder.path().into()).unwrap_err().kind(),
                io::ErrorKind::PermissionDenied
            );
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(Cache::open(folder.path().into()).is_ok());
    }

    #[test]
    fn the_usual_place_follows_the_environment() {
        let check = |xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let variable = |name: &str| if name == "HOME" { home } else { xdg }.map(Into::into);
            assert_eq!(Cache::usual(variable), expected.map(PathBuf::from));
        };
        check(Some("/c"), Some("/h"), Some("/c/outrigger/wasm"));
        check(Some("relative"), Some("/h"), Some("/h/.cache/outrigger/wasm"));
        check(None, None, None);
    }
}
