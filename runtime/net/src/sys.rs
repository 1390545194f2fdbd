//! The few system calls neither std, tokio nor socket2 offers as we need them. The only unsafe code of this crate.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Listener;

/// Joins a listener to the reactor of the runtime this is called from.
#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor, which Listener keeps")]
pub(crate) fn register(listener: Listener) -> io::Result<AsyncFd<Listener>> {
    // SAFETY: a Listener owns its descriptor, gives the same one for its whole life, and closes it only on drop.
    Ok(unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?)
}

/// Accepts a connection that is non-blocking and closed on exec from its first moment: one system call.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
#[expect(unsafe_code, reason = "accept4 has no safe form; socket2 and std would need a second system call")]
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    use std::os::fd::{AsRawFd, FromRawFd};

    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let accept = |address: *mut libc::sockaddr, length: *mut libc::socklen_t| {
        // SAFETY: the descriptor is open for the borrow's lifetime; `address` and `length` come from `try_init`, which
        // gives storage large enough for any address and its size.
        let fd = unsafe { libc::accept4(listener.as_raw_fd(), address, length, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    // SAFETY: on success the kernel has written an address and its length.
    let (fd, address) =
        unsafe { socket2::SockAddr::try_init(|storage, length| accept(storage.cast(), length)) }?;
    Ok((fd, address.as_socket()))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let (socket, address) = socket2::SockRef::from(&listener).accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), address.as_socket()))
}

/// How many descriptors this process may have open (the soft `RLIMIT_NOFILE`).
#[expect(unsafe_code, reason = "getrlimit has no safe form in std or socket2")]
pub fn nofile_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit the call may write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Raises the soft limit on descriptors to the hard one and says what it is now. For a proxy, at start.
#[expect(unsafe_code, reason = "setrlimit has no safe form in std or socket2")]
pub fn raise_nofile_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit the call may write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit, only read by the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_known_and_can_be_raised() {
        let before = nofile_limit().unwrap();
        let raised = raise_nofile_limit().unwrap();
        assert!(before > 0 && raised >= before);
        assert_eq!(nofile_limit().unwrap(), raised);
    }
}
