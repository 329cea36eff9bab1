//! What PgBouncer shows and pgweir has none of: no peers, no DNS cache of its own.

use crate::admin::table::{int4, int8, text};
use crate::wire::rows::Column;

pub(super) const DNS_HOSTS: &[Column] = &[text("hostname"), int8("ttl"), text("addrs")];

pub(super) const DNS_ZONES: &[Column] = &[text("zonename"), int8("serial"), int4("count")];

pub(super) const PEERS: &[Column] =
    &[int4("peer_id"), text("host"), int4("port"), int4("pool_size")];

pub(super) const PEER_POOLS: &[Column] = &[
    int4("peer_id"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active_cancel"),
    int4("sv_login"),
];
