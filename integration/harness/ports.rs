//! Free TCP ports, held by a lock file for as long as the test lives, so that tests that run in
//! parallel, in threads or in processes, never race for one.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux' ephemeral ports, which outgoing connections take at any moment.
const PORT_FIRST: u32 = 12_000;
const PORT_COUNT: u32 = 20_000;

pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: File,
}

impl Port {
    pub(crate) fn take() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let locks = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ports");
        std::fs::create_dir_all(&locks).expect("the target directory can be written");
        let start = std::process::id().wrapping_mul(37);
        for _ in 0..PORT_COUNT {
            let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let number = u16::try_from(PORT_FIRST + step % PORT_COUNT).expect("below 65536");
            let lock = File::create(locks.join(number.to_string())).expect("a lock file is made");
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port from {PORT_FIRST} on");
    }

    /// Where to listen on it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
