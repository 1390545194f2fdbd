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

/// Gives the pages of the program's code back; those that run again are mapped again from the page cache. For a
/// program that has started: most of what ran until then never runs again.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "madvise has no safe form: on other memory it would destroy what is there")]
pub fn release_code() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for range in code_of(&maps, &std::env::current_exe()?) {
        let start = std::ptr::without_provenance_mut(range.start);
        // SAFETY: the kernel says that the range is mapped from our own file, for running and not for writing, and the
        // linker leaves nothing there to be changed at load. So what comes back is what was there.
        if unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn release_code() -> io::Result<()> {
    Ok(())
}

/// Where the code of `program` is mapped: lines of `/proc/PID/maps` such as
/// `5612f3a00000-5612f5000000 r-xp 00706000 fd:00 1234    /usr/bin/outrigger`.
#[cfg(target_os = "linux")]
fn code_of<'m>(
    maps: &'m str,
    program: &'m std::path::Path,
) -> impl Iterator<Item = std::ops::Range<usize>> + 'm {
    maps.lines().filter_map(move |line| {
        let (range, rest) = line.split_once(" r-xp ")?;
        let path = rest.splitn(4, ' ').nth(3)?.trim_start();
        let (start, end) = range.split_once('-')?;
        let address = |digits| usize::from_str_radix(digits, 16).ok();
        (std::path::Path::new(path) == program).then_some(address(start)?..address(end)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn released_code_still_runs() {
        let resident = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let program = std::env::current_exe().unwrap();
            let code = smaps.split_once(" r-xp ").unwrap().1;
            assert!(code.lines().next().unwrap().ends_with(program.to_str().unwrap()), "{code}");
            let rss = code.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
            rss.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        release_code().unwrap();
        let after = resident();
        assert!(after < before, "{before} KiB, then {after} KiB");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_code_of_the_program_is_found() {
        let maps = "\
            1000-2000 r--p 00000000 fd:00 7 /opt/my app/outrigger\n\
            2000-5000 r-xp 00001000 fd:00 7                          /opt/my app/outrigger\n\
            5000-6000 r--p 00004000 fd:00 7 /opt/my app/outrigger\n\
            7000-8000 r-xp 00000000 00:00 0 \n\
            8000-9000 r-xp 00000000 fd:00 8 /lib/libc.so.6\n\
            9000-a000 r-xp 00000000 00:00 0 [vdso]\n";
        let mut found = code_of(maps, std::path::Path::new("/opt/my app/outrigger"));
        assert_eq!((found.next(), found.next()), (Some(0x2000..0x5000), None));
    }

    #[test]
    fn the_limit_is_known_and_can_be_raised() {
        let before = nofile_limit().unwrap();
        let raised = raise_nofile_limit().unwrap();
        assert!(before > 0 && raised >= before);
        assert_eq!(nofile_limit().unwrap(), raised);
    }
}
