//! A bound socket that listens, TCP or Unix.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::Address;

/// How to bind.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Lets other processes bind the same TCP address and share its connections. Default off, so that a second
    /// start by mistake fails with a clear error.
    pub reuse_port: bool,
    /// Connections the kernel keeps for us before they are accepted. Default 1024.
    pub backlog: i32,
    /// Permissions of a Unix socket's file. Default 0600.
    pub unix_mode: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { reuse_port: false, backlog: 1024, unix_mode: 0o600 }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(.address, .source))]
pub struct BindError {
    pub address: Address,
    #[source]
    pub source: io::Error,
}

fn explain(address: &Address, error: &io::Error) -> String {
    match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, Address::Tcp(tcp)) => {
            format!("EADDRINUSE, another process listens on port {} already", tcp.port())
        }
        (io::ErrorKind::AddrInUse, Address::Unix(_)) => {
            "EADDRINUSE, another process answers on this socket already".to_owned()
        }
        (io::ErrorKind::AlreadyExists, _) => "the file exists and is not a socket".to_owned(),
        (io::ErrorKind::AddrNotAvailable, _) => "EADDRNOTAVAIL, this machine has no such address".to_owned(),
        (io::ErrorKind::PermissionDenied, Address::Tcp(tcp)) if tcp.port() < 1024 => {
            format!("permission denied, ports below 1024 need a privilege ({} is one)", tcp.port())
        }
        (io::ErrorKind::NotFound, Address::Unix(_)) => "its folder does not exist".to_owned(),
        _ => error.to_string(),
    }
}

/// A listening socket. A Unix socket's file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: Address,
    /// Held to be dropped.
    _file: Option<SocketFile>,
}

impl Listener {
    /// Binds and listens. Port 0 takes a free port: see [`Listener::local_address`].
    pub fn bind(address: &Address, options: &SocketOptions) -> Result<Self, BindError> {
        let bound = match address {
            Address::Tcp(tcp) => bind_tcp(*tcp, options),
            Address::Unix(path) => bind_unix(path, options),
        };
        bound.map_err(|source| BindError { address: address.clone(), source })
    }

    /// What it is bound to, with the port the system gave.
    pub fn local_address(&self) -> &Address {
        &self.address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::os::fd::AsRawFd for Listener {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

fn bind_tcp(address: std::net::SocketAddr, options: &SocketOptions) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    // Only lets us bind over connections in TIME_WAIT: a listener on the address still gives EADDRINUSE.
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]:80` and `0.0.0.0:80` are two listeners, whatever the machine's setting.
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Listener { socket: socket.into(), address: Address::Tcp(bound), _file: None })
}

fn bind_unix(path: &Path, options: &SocketOptions) -> io::Result<Listener> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    // Before `listen` nobody can connect, so there is no moment with wider permissions.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(options.unix_mode))?;
    socket.listen(options.backlog)?;
    Ok(Listener { socket: socket.into(), address: Address::Unix(path.to_owned()), _file: Some(file) })
}

/// Removes a socket file nobody answers on: its owner died without cleaning up.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or its backlog is full: somebody is there.
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

/// The file of a Unix socket, removed on drop unless another process has put its own there meanwhile.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = identity(&self.path).is_ok_and(|now| now == self.identity);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket file could not be removed");
        }
    }
}

/// Device and inode: which file a path leads to now.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn bind(address: &str) -> Result<Listener, BindError> {
        Listener::bind(&address.parse().unwrap(), &SocketOptions::default())
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = bind("127.0.0.1:0").unwrap();
        let address = first.local_address().to_string();
        let error = bind(&address).unwrap_err().to_string();
        let port = address.strip_prefix("127.0.0.1:").unwrap();
        assert_eq!(
            error,
            format!("cannot listen on {address}: EADDRINUSE, another process listens on port {port} already")
        );
    }

    #[test]
    fn reuse_port_shares() {
        let options = SocketOptions { reuse_port: true, ..SocketOptions::default() };
        let first = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
        Listener::bind(first.local_address(), &options).unwrap();
        assert!(bind(&first.local_address().to_string()).is_err(), "only with those who also share");
    }

    #[test]
    fn both_families_bind_one_port() {
        let Ok(six) = bind("[::]:0") else { return };
        let port = six.local_address().port().unwrap();
        bind(&format!("0.0.0.0:{port}")).unwrap();
    }

    #[test]
    fn a_unix_socket_is_private_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let address = format!("unix:{}", path.display());
        let listener = bind(&address).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = bind(&address).unwrap_err().to_string();
        assert!(error.contains("another process answers"), "{error}");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_but_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let address = format!("unix:{}", path.display());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let listener = bind(&address).unwrap();

        // Somebody replaced our file: it is theirs now.
        std::fs::remove_file(&path).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(bind(&address).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let missing = bind("unix:/nonexistent/a.sock").unwrap_err().to_string();
        assert!(missing.contains("its folder does not exist"), "{missing}");
    }
}
