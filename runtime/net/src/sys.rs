//! The few system calls neither std, tokio nor socket2 offers as we need them. The only unsafe code of this crate.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
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

/// Gives back the pages of the program that are never written, code and constants; those that are used again are mapped
/// again from the page cache. For a program that has come to rest: most of what ran until then does not run again soon.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "madvise has no safe form: on other memory it would destroy what is there")]
pub fn release_program() -> io::Result<()> {
    let page = page_size();
    for part in unwritten() {
        // A page holds nothing of two parts, as they differ in who may write.
        let start = part.start / page * page;
        let address = std::ptr::without_provenance_mut(start);
        // SAFETY: the program says that nobody ever writes this part of it, so what comes back is what was there.
        if unsafe { libc::madvise(address, part.end - start, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn release_program() -> io::Result<()> {
    Ok(())
}

/// Where parts of the program are mapped that are never written, not by the loader either: what it adjusts at the start
/// and protects then belongs to a part that is written.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the headers of a program in memory are told to C only")]
fn unwritten() -> Vec<Range<usize>> {
    unsafe extern "C" fn of_the_first(
        object: *mut libc::dl_phdr_info,
        _: usize,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader lends what it knows of an object for this call, and passes on `found`, which is ours alone.
        let (object, found) = unsafe { (&*object, &mut *found.cast::<Vec<Range<usize>>>()) };
        // SAFETY: so many headers are mapped there, as long as the object is.
        let parts = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        let unwritten = parts.iter().filter(|it| it.p_type == libc::PT_LOAD && it.p_flags & libc::PF_W == 0);
        found.extend(unwritten.map(|part| {
            let start = object.dlpi_addr as usize + part.p_vaddr as usize;
            start..start + part.p_memsz as usize
        }));
        // The first object is the program; no more of them.
        1
    }

    let mut found = Vec::new();
    // SAFETY: the callback is told of our own vector, and is done with it when this returns.
    unsafe { libc::dl_iterate_phdr(Some(of_the_first), (&raw mut found).cast()) };
    found
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "sysconf has no safe form in std or socket2")]
fn page_size() -> usize {
    // SAFETY: it only looks up a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program's mappings with these rights: resident and changed KiB, from the first one on.
    #[cfg(target_os = "linux")]
    fn mapped(rights: &str) -> Vec<(u64, u64)> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let program = std::env::current_exe().unwrap();
        let mut mappings = Vec::new();
        let mut ours = false;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            match (words.next().unwrap(), words.next().unwrap()) {
                ("Rss:", kib) if ours => mappings.push((kib.parse().unwrap(), 0)),
                ("Anonymous:", kib) if ours => mappings.last_mut().unwrap().1 = kib.parse().unwrap(),
                (word, found) if !word.ends_with(':') => {
                    ours = found == rights && line.ends_with(program.to_str().unwrap());
                }
                _ => {}
            }
        }
        mappings
    }

    /// What the loader has adjusted is read-only as well by now, but would come back as it is in the file: it stays.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_released_program_still_runs() {
        let sum = |rights| {
            let mappings = mapped(rights).into_iter();
            mappings.fold((0, 0), |(resident, changed), (r, c)| (resident + r, changed + c))
        };
        let both = || (sum("r-xp"), sum("r--p"));
        // Other tests run meanwhile and may bring in more than was there.
        let mut seen = Vec::new();
        let shrinks = (0..20).any(|_| {
            let (code, constants) = both();
            release_program().unwrap();
            let (code_after, constants_after) = both();
            assert!(
                constants.1 > 0 && constants_after.1 == constants.1,
                "{constants:?}, then {constants_after:?}"
            );
            seen.push(((code, constants), (code_after, constants_after)));
            code_after.0 < code.0 && constants_after.0 < constants.0
        });
        assert!(shrinks, "(resident, changed) KiB of code and constants: {seen:?}");
        // What the linkers of today make: one mapping is what the loader has adjusted, and it is the only one changed.
        assert_eq!(unwritten().len(), mapped("r-xp").len() + mapped("r--p").len() - 1);
    }

    #[test]
    fn the_limit_is_known_and_can_be_raised() {
        let before = nofile_limit().unwrap();
        let raised = raise_nofile_limit().unwrap();
        assert!(before > 0 && raised >= before);
        assert_eq!(nofile_limit().unwrap(), raised);
    }
}
