//! What a process has used, from `/proc`: CPU time in nanoseconds, resident memory in bytes.

use std::collections::BTreeMap;
use std::fs;

use crate::Result;

/// `utime` and `stime` count in these; Linux' `USER_HZ` is 100 on every machine this runs on.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// The CPU time of a process so far, from both sources.
///
/// `schedstat` is exact to the nanosecond, but a thread's share goes when the thread does. `stat`
/// keeps the share of exited threads and counts in steps of 10 ms.
pub(crate) struct CpuTime {
    threads: BTreeMap<u32, u64>,
    ticks: Ticks,
}

/// Sampled by the timer interrupt: rough, and only for telling user from system.
#[derive(Clone, Copy)]
pub(crate) struct Ticks {
    pub(crate) user: u64,
    pub(crate) system: u64,
}

/// CPU time that was used between two looks.
pub(crate) struct Spent {
    pub(crate) nanoseconds: u64,
    pub(crate) ticks: Ticks,
}

impl CpuTime {
    pub(crate) fn read(process: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?;
            // A thread may exit between the listing and the look: `stat` still has its time.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let thread = task.file_name().to_string_lossy().parse()?;
            let nanoseconds = text.split(' ').next().ok_or("an empty schedstat")?.parse()?;
            threads.insert(thread, nanoseconds);
        }
        Ok(Self { threads, ticks: read_ticks(process)? })
    }

    /// What was used between `self` and the later `end`, from the finer source that is right.
    pub(crate) fn until(&self, end: &Self) -> Spent {
        let user = end.ticks.user.saturating_sub(self.ticks.user);
        let system = end.ticks.system.saturating_sub(self.ticks.system);
        let coarse = (user + system) * NANOSECONDS_PER_TICK;
        let all_alive = self.threads.keys().all(|thread| end.threads.contains_key(thread));
        let before: u64 = self.threads.values().sum();
        let fine = end.threads.values().sum::<u64>().saturating_sub(before);
        // More than rounding apart: a thread came and went between the two looks.
        let complete = fine + 3 * NANOSECONDS_PER_TICK >= coarse;
        Spent {
            nanoseconds: if all_alive && complete { fine } else { coarse },
            ticks: Ticks { user, system },
        }
    }
}

/// Fields 14 and 15 of the whole process. The name, field 2, may contain anything, so counting
/// starts behind its closing parenthesis.
fn read_ticks(process: u32) -> Result<Ticks> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = text.rsplit_once(')').ok_or("a stat line without a name")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next().ok_or("a short stat line");
    Ok(Ticks { user: next()?.parse()?, system: next()?.parse()? })
}

/// Resident bytes: exact from `smaps_rollup`; where that is not allowed, `status`, whose counters
/// may lag by some pages a thread.
pub(crate) fn resident_bytes(process: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let from_rollup = rollup.ok().and_then(|text| kilobytes(&text, "Rss:"));
    let kilobytes = match from_rollup {
        Some(exact) => exact,
        None => kilobytes(&fs::read_to_string(format!("/proc/{process}/status"))?, "VmRSS:")
            .ok_or("a process without resident memory")?,
    };
    Ok(kilobytes * 1024)
}

fn kilobytes(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}
