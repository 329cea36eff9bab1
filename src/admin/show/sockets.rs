//! `SHOW CLIENTS`, `SERVERS`, `SOCKETS` and `ACTIVE_SOCKETS`: a row for each connection.

use super::OWN;
use super::databases::address;
use crate::admin::Console;
use crate::admin::table::{Row, int4, text};
use crate::base::calendar::utc;
use crate::config::HostAddress;
use crate::control::census::{Doing, ServerOf, pointer_of};
use crate::control::operator::Operator;
use crate::control::roster::{Presence, Replication, pid_of};
use crate::net::stream::{Ends, Near, Peer};
use crate::pool::Pool;
use crate::pool::hub::{LISTENER, Listener};
use crate::pool::welcome::APPLICATION_NAME;
use crate::scheduler::SlotState;
use crate::session::settings::Settings;
use crate::wire::rows::{Cell, Column};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ALL: [Column; 28] = [
    text("type"),
    text("user"),
    text("database"),
    text("replication"),
    text("state"),
    text("addr"),
    int4("port"),
    text("local_addr"),
    int4("local_port"),
    text("connect_time"),
    text("request_time"),
    int4("wait"),
    int4("wait_us"),
    int4("close_needed"),
    text("ptr"),
    text("link"),
    int4("remote_pid"),
    text("tls"),
    text("application_name"),
    int4("prepared_statements"),
    int4("id"),
    int4("recv_pos"),
    int4("pkt_pos"),
    int4("pkt_remain"),
    int4("send_pos"),
    int4("send_remain"),
    int4("pkt_avail"),
    int4("send_avail"),
];

/// Of `SHOW SOCKETS` and `ACTIVE_SOCKETS`.
pub(super) const SOCKETS: &[Column] = &ALL;
/// Of `SHOW CLIENTS`.
pub(super) const COLUMNS: &[Column] = ALL.split_at(21).0;
/// Of `SHOW SERVERS`: one of ours behind PgBouncer's.
pub(super) const SERVERS: &[Column] = &{
    let mut columns = [int4("riders"); 22];
    let mut at = 0;
    while at < COLUMNS.len() {
        columns[at] = ALL[at];
        at += 1;
    }
    columns
};

/// What a row says.
struct Socket {
    is_server: bool,
    user: String,
    database: String,
    state: &'static str,
    far: (String, u16),
    near: (String, u16),
    connected_at: Instant,
    requested_at: Instant,
    waits: Duration,
    close_needed: bool,
    pointer: String,
    link: String,
    remote_pid: u32,
    application_name: String,
    /// Statements; of a server that somebody has, 0.
    prepared: u32,
    /// Clients that share it; 0: it is not shared.
    riders: u32,
    id: u32,
    replication: Option<Replication>,
}

/// What shows all of them.
pub(super) struct Sockets<'a> {
    console: &'a Console,
    now: Instant,
    port: u16,
}

const UNIX: &str = "unix";

impl<'a> Sockets<'a> {
    pub(super) fn of(console: &'a Console, now: Instant) -> Self {
        Self { console, now, port: console.registry.config().listen.port }
    }

    pub(super) fn clients(&self) -> Vec<Row> {
        let mut clients = self.all();
        clients.retain(|socket| !socket.is_server);
        clients.into_iter().map(|socket| self.row(socket)).collect()
    }

    pub(super) fn servers(&self) -> Vec<Row> {
        let servers = self.all().into_iter().filter(|socket| socket.is_server);
        let with_riders = |socket: Socket| {
            let riders = socket.riders.into();
            let mut row = self.row(socket);
            row.push(riders);
            row
        };
        servers.map(with_riders).collect()
    }

    pub(super) fn sockets(&self) -> Vec<Row> {
        self.all().into_iter().map(|socket| self.long_row(socket)).collect()
    }

    /// Those of them that are at work.
    pub(super) fn active_sockets(&self) -> Vec<Row> {
        let is_active = |socket: &Socket| !matches!(socket.state, "idle" | "used");
        let active = self.all().into_iter().filter(is_active);
        active.map(|socket| self.long_row(socket)).collect()
    }

    /// Clients, sessions of the console, servers.
    fn all(&self) -> Vec<Socket> {
        let Console { roster, registry, .. } = self.console;
        let census = roster.census(registry, self.now);
        let clients = census.clients().map(|(client, doing)| self.client(client, doing));
        let operators = roster.operators();
        let operators = operators.iter().map(|operator| self.operator(operator));
        let servers = census.servers().map(|server| self.server(server));
        let pools = registry.pools();
        let listeners =
            pools.iter().filter_map(|pool| Some(self.listener(pool, &pool.hub.listener()?)));
        clients.chain(operators).chain(servers).chain(listeners).collect()
    }

    /// The connection that listens for the clients of a pool. It is no server that anybody is lent.
    fn listener(&self, pool: &Pool, listener: &Listener) -> Socket {
        let Listener { key, since } = listener;
        let (far, near) = self.ends(pool, key.ends.as_deref());
        Socket {
            is_server: true,
            user: pool.user.clone(),
            database: pool.database.clone(),
            state: "listening",
            far,
            near,
            connected_at: *since,
            requested_at: *since,
            waits: Duration::ZERO,
            close_needed: false,
            pointer: format!("0xe{:011x}", key.pid),
            link: String::new(),
            remote_pid: key.pid,
            application_name: LISTENER.to_owned(),
            id: key.pid,
            replication: None,
            prepared: 0,
            riders: 0,
        }
    }

    /// Both ends of a server's connection: Postgres', and ours.
    fn ends(&self, pool: &Pool, ends: Option<&Ends>) -> ((String, u16), (String, u16)) {
        let (far, near) = match ends {
            Some(ends) => ((ends.far.ip().to_string(), ends.far.port()), ends.near),
            None => (written(&pool.host.setup().address), ([0, 0, 0, 0], self.port).into()),
        };
        let is_unix = far.0 == UNIX;
        let address = if is_unix { UNIX.to_owned() } else { near.ip().to_string() };
        (far, (address, near.port()))
    }

    fn client(&self, client: &Arc<Presence>, doing: Doing<'_>) -> Socket {
        let (state, link, waits) = match doing {
            Doing::Idle => ("idle", String::new(), Duration::ZERO),
            Doing::Waiting { since } => {
                ("waiting", String::new(), self.now.saturating_duration_since(since))
            }
            Doing::Active(server) => ("active", server.pointer(), Duration::ZERO),
        };
        Socket {
            is_server: false,
            user: client.user.to_string(),
            database: client.pool().database.clone(),
            state,
            far: self.far(client.peer),
            near: self.near(client.near),
            connected_at: client.connected_at,
            requested_at: client.requested_at(),
            waits,
            close_needed: client.is_leaving(),
            pointer: client.pointer(),
            link,
            remote_pid: pid(client.near),
            application_name: application_name(&client.settings()),
            prepared: client.prepared(),
            riders: 0,
            id: pid_of(client.id),
            replication: client.replication(),
        }
    }

    fn operator(&self, operator: &Operator) -> Socket {
        Socket {
            is_server: false,
            user: operator.user.to_string(),
            database: OWN.to_owned(),
            state: "idle",
            far: self.far(operator.peer),
            near: self.near(operator.near),
            connected_at: operator.connected_at,
            requested_at: operator.commanded_at(),
            waits: Duration::ZERO,
            close_needed: false,
            pointer: pointer_of(operator.id),
            link: String::new(),
            remote_pid: pid(operator.near),
            application_name: operator.application_name.to_string(),
            prepared: 0,
            riders: 0,
            id: pid_of(operator.id),
            replication: None,
        }
    }

    fn server(&self, of: ServerOf<'_>) -> Socket {
        let ServerOf { pool, server, holder, .. } = of;
        let state = match server.state {
            SlotState::BeingCanceled => "being_canceled",
            SlotState::Checking | SlotState::Tidying => "tested",
            SlotState::Connecting | SlotState::Vacant => "new",
            SlotState::Idle if server.is_to_be_checked => "used",
            SlotState::Idle => "idle",
            SlotState::Leased => "active",
        };
        let (far, near) = self.ends(pool, server.about.ends.as_deref());
        let applied = holder.map(|holder| holder.settings());
        let applied = applied.as_ref().or(server.about.applied.as_ref());
        let pid = server.about.pid.unwrap_or_default();
        Socket {
            is_server: true,
            user: pool.user.clone(),
            database: pool.database.clone(),
            state,
            far,
            near,
            connected_at: server.connected_at.unwrap_or(server.since),
            requested_at: holder.map_or(server.since, |holder| holder.requested_at()),
            waits: Duration::ZERO,
            close_needed: server.is_retired,
            pointer: of.pointer(),
            link: holder.map(|holder| holder.pointer()).unwrap_or_default(),
            remote_pid: pid,
            application_name: applied.map(|it| application_name(it)).unwrap_or_default(),
            prepared: server.about.prepared,
            riders: server.riders,
            id: pid,
            replication: holder.and_then(|holder| holder.replication()),
        }
    }

    fn far(&self, peer: Peer) -> (String, u16) {
        match peer {
            Peer::Tcp(address) => (address.ip().to_string(), address.port()),
            Peer::Unix => (UNIX.to_owned(), self.port),
        }
    }

    fn near(&self, near: Near) -> (String, u16) {
        match near {
            Near::Tcp(address) => (address.ip().to_string(), address.port()),
            Near::Unix { .. } => (UNIX.to_owned(), self.port),
        }
    }

    fn row(&self, socket: Socket) -> Row {
        let at = |moment| Cell::from(utc(self.console.registry.calendar(moment)));
        vec![
            if socket.is_server { "S" } else { "C" }.into(),
            socket.user.into(),
            socket.database.into(),
            kind(socket.replication).into(),
            socket.state.into(),
            socket.far.0.into(),
            u32::from(socket.far.1).into(),
            socket.near.0.into(),
            u32::from(socket.near.1).into(),
            at(socket.connected_at),
            at(socket.requested_at),
            socket.waits.as_secs().into(),
            socket.waits.subsec_micros().into(),
            u32::from(socket.close_needed).into(),
            socket.pointer.into(),
            socket.link.into(),
            socket.remote_pid.into(),
            // There is no TLS so far.
            "".into(),
            socket.application_name.into(),
            socket.prepared.into(),
            socket.id.into(),
        ]
    }

    /// What is in buffers is in none that stays: a client lends one only while bytes are on their way.
    fn long_row(&self, socket: Socket) -> Row {
        let state = match (socket.is_server, socket.state) {
            (false, "waiting") => "cl_waiting",
            (false, _) => "cl_active",
            (true, "active") => "sv_active",
            (true, "being_canceled") => "sv_being_canceled",
            (true, "listening") => "sv_listening",
            (true, "new") => "sv_login",
            (true, "tested") => "sv_tested",
            (true, "used") => "sv_used",
            (true, _) => "sv_idle",
        };
        let mut row = self.row(Socket { state, ..socket });
        row.extend(std::iter::repeat_n(Cell::Number(0), SOCKETS.len() - COLUMNS.len()));
        row
    }
}

fn kind(replication: Option<Replication>) -> &'static str {
    match replication {
        None => "none",
        Some(Replication::Logical) => "logical",
        Some(Replication::Physical) => "physical",
    }
}

fn pid(near: Near) -> u32 {
    match near {
        Near::Tcp(_) => 0,
        Near::Unix { pid } => pid,
    }
}

pub(super) fn application_name(settings: &Settings) -> String {
    settings.value(APPLICATION_NAME).unwrap_or_default().to_owned()
}

/// As it is in the configuration, for a server that is still being opened.
fn written(host: &HostAddress) -> (String, u16) {
    let (name, port) = address(host);
    (if matches!(host, HostAddress::Unix(_)) { UNIX.to_owned() } else { name }, port)
}
