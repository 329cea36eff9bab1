//! A script that fails, made short: parts of it are left out for as long as it goes on to fail.

use super::message::{Script, Step};
use crate::harness::time::Deadline;

/// Tries to leave out whole clients, then ever smaller parts, until nothing more can go or `deadline`
/// has passed. Answers with the shortest script that `fails`.
pub(super) async fn shrink(
    script: Script,
    deadline: Deadline,
    mut fails: impl AsyncFnMut(&Script) -> bool,
) -> Script {
    let mut best = script;
    for client in best.clients() {
        let rest = best.0.iter().filter(|step| step.client != client).cloned().collect();
        try_out(&mut best, Script(rest), &mut fails).await;
    }
    let mut part = best.0.len().div_ceil(2);
    while part > 0 && !deadline.passed() {
        let mut has_shrunk = false;
        let mut at = 0;
        while at < best.0.len() && !deadline.passed() {
            let shorter = without(&best, at, part);
            if try_out(&mut best, shorter, &mut fails).await {
                has_shrunk = true;
            } else {
                at += part;
            }
        }
        // Once more at the size of one message, as long as that helps.
        part = if part > 1 { part / 2 } else { usize::from(has_shrunk) };
    }
    best
}

fn without(script: &Script, at: usize, count: usize) -> Script {
    let kept = |number: &usize| *number < at || *number >= at + count;
    let steps = script.0.iter().enumerate().filter(|(number, _)| kept(number));
    Script(steps.map(|(_, step)| step.clone()).collect::<Vec<Step>>())
}

/// True if `shorter` fails, too, and is the best from now on.
async fn try_out(
    best: &mut Script,
    shorter: Script,
    fails: &mut impl AsyncFnMut(&Script) -> bool,
) -> bool {
    if shorter.0.is_empty() || !fails(&shorter).await {
        return false;
    }
    *best = shorter;
    true
}
