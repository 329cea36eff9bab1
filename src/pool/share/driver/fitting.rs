//! Gives a shared server the settings of those aboard, in turn.

use crate::pool::Pool;
use crate::pool::share::riders::Rider;
use crate::server::Server;
use std::sync::Arc;

/// If it takes a longer text to give a server the settings of a rider, that one waits for a server of its own.
const CHANGE_MAX: usize = 8 << 10;

/// Has the server changed to the settings of a rider, ahead of its request, if it will have others when that
/// runs. `false`: that is not to be done here.
#[inline]
pub(super) fn fit(server: &mut Server, rider: &mut Rider, out: &mut Vec<u8>, pool: &Pool) -> bool {
    rider.fare.suits(&server.applied) || change(server, rider, out, pool)
}

/// The server is taken to have the settings from now on: it has them when what comes behind is run, and is lost
/// if it does not take them.
#[cold]
fn change(server: &mut Server, rider: &mut Rider, out: &mut Vec<u8>, pool: &Pool) -> bool {
    // Where nobody knows what is below those that it has, it is made anew before it gets others.
    let is_known = !server.base.is_hidden_below(&server.applied);
    if !is_known || !rider.fare.can_go(&server.prepared, (&pool.database, &pool.user)) {
        return false;
    }
    let wanted = rider.fare.settings();
    let sql = server.change_to(wanted);
    if sql.as_ref().is_some_and(|sql| sql.len() > CHANGE_MAX) {
        return false;
    }
    server.has(Arc::clone(wanted));
    if let Some(sql) = sql {
        rider.fit(&sql, &mut server.ledger, out);
    }
    true
}
