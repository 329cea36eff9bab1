//! The low-water mark of a socket (`SO_RCVLOWAT`), which neither the standard library nor those that are used here
//! set. The one place with `unsafe`: `src/tidy.rs` sees to that.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has nobody woken who waits to read before so many bytes are there, or the end. Reads are as ever. Where so many
/// are there already, whoever waits is woken now.
///
/// # Errors
///
/// When the kernel refuses it.
#[expect(unsafe_code, reason = "no library that is used here has this option")]
pub(super) fn set_low_water(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    const LEN: libc::socklen_t = libc::c_int::BITS / u8::BITS;
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let fd = socket.as_fd();
    // SAFETY: the descriptor is borrowed, so that it is open for as long as this takes. The kernel reads LEN bytes
    // at the pointer, which is that of an int on the stack with as many, and keeps neither.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            std::ptr::from_ref(&value).cast(),
            LEN,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
