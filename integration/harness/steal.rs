//! What the hypervisor took from this machine to give to other guests of its host. It counts only while something
//! here wants to run, so on a host with too little for all, whoever wants more is also seen to lose more; where there is
//! enough, nothing that runs here makes it more than nothing.

use std::fs;
use std::time::Duration;

/// From some time on.
#[derive(Clone, Copy)]
pub(crate) struct Steal {
    start: Ticks,
}

/// Of all processors together, since the machine started. Nothing where the system does not count them, which is
/// everywhere but on Linux.
#[derive(Clone, Copy)]
struct Ticks {
    stolen: f64,
    all: f64,
}

/// proc(5): `USER_HZ`, which is 100 on every architecture that this is tested on.
const TICK: Duration = Duration::from_millis(10);

impl Ticks {
    /// proc(5): user, nice, system, idle, iowait, irq, softirq, steal; what follows is contained in the first two.
    fn so_far() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let ticks: Vec<f64> = all.filter_map(|ticks| ticks.parse().ok()).collect();
        Self { stolen: ticks.get(7).copied().unwrap_or(0.0), all: ticks.iter().sum() }
    }
}

impl Steal {
    pub(crate) fn from_now() -> Self {
        Self { start: Ticks::so_far() }
    }

    /// Which part of the processors' time.
    pub(crate) fn part(self) -> f64 {
        let now = Ticks::so_far();
        (now.stolen - self.start.stolen) / (now.all - self.start.all).max(1.0)
    }

    /// For how long at most it can have delayed what was done one after another: all processors' together.
    pub(crate) fn delay(self) -> Duration {
        TICK.mul_f64(Ticks::so_far().stolen - self.start.stolen)
    }
}
