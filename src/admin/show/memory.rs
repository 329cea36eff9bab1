//! `SHOW MEM` and `SHOW FDS`.

use crate::admin::Console;
use crate::admin::table::{Row, bytea, int4, int8, text};
use crate::net::worker::BUFFER_SIZE;
use crate::wire::rows::{Cell, Column};

pub(super) const MEM: &[Column] =
    &[text("name"), int4("size"), int4("used"), int4("free"), int4("memtotal")];

/// There is never a row: sockets go to another process by `pgweir run --takeover`, and to nobody else.
pub(super) const FDS: &[Column] = &[
    int4("fd"),
    text("task"),
    text("user"),
    text("database"),
    text("addr"),
    int4("port"),
    int8("cancel"),
    int4("link"),
    text("client_encoding"),
    text("std_strings"),
    text("datestyle"),
    text("timezone"),
    text("password"),
    bytea("scram_client_key"),
    bytea("scram_server_key"),
];

/// The buffers of all workers. Nothing else has a cache of its own that is worth a line.
pub(super) fn mem(console: &Console) -> Vec<Row> {
    let workers = console.registry.process(console.roster.is_suspended()).workers;
    let bytes: u64 = workers.iter().map(|worker| worker.buffer_bytes).sum();
    let size = BUFFER_SIZE as u64;
    let row = vec![
        "iobuf_cache".into(),
        size.into(),
        (bytes / size).into(),
        Cell::Number(0),
        bytes.into(),
    ];
    vec![row]
}
