//! What PgBouncer 1.25.2 answers to each `SHOW`: captured from it, column by column.

/// By name: OID and length.
pub(super) const TYPES: &[(&str, u32, i16)] =
    &[("bytea", 17, -1), ("int4", 23, 4), ("int8", 20, 8), ("numeric", 1700, -1), ("text", 25, -1)];

/// `name:type` of each column, in order.
pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("VERSION", "version:text"),
    ("STATE", "key:text value:text"),
    (
        "STATS",
        "database:text total_server_assignment_count:numeric total_xact_count:numeric \
         total_query_count:numeric total_received:numeric total_sent:numeric \
         total_xact_time:numeric total_query_time:numeric total_wait_time:numeric \
         total_client_parse_count:numeric total_server_parse_count:numeric \
         total_bind_count:numeric total_client_login_count:numeric \
         avg_server_assignment_count:numeric avg_xact_count:numeric \
         avg_query_count:numeric avg_recv:numeric avg_sent:numeric avg_xact_time:numeric \
         avg_query_time:numeric avg_wait_time:numeric avg_client_parse_count:numeric \
         avg_server_parse_count:numeric avg_bind_count:numeric \
         avg_client_login_count:numeric",
    ),
    (
        "STATS_TOTALS",
        "database:text server_assignment_count:numeric xact_count:numeric \
         query_count:numeric bytes_received:numeric bytes_sent:numeric xact_time:numeric \
         query_time:numeric wait_time:numeric client_parse_count:numeric \
         server_parse_count:numeric bind_count:numeric client_login_count:numeric",
    ),
    (
        "STATS_AVERAGES",
        "database:text server_assignment_count:numeric xact_count:numeric \
         query_count:numeric bytes_received:numeric bytes_sent:numeric xact_time:numeric \
         query_time:numeric wait_time:numeric avg_client_parse_count:numeric \
         avg_server_parse_count:numeric avg_bind_count:numeric \
         avg_client_login_count:numeric",
    ),
    ("TOTALS", "name:text value:numeric"),
    (
        "POOLS",
        "database:text user:text cl_active:int4 cl_waiting:int4 cl_active_cancel_req:int4 \
         cl_waiting_cancel_req:int4 sv_active:int4 sv_active_cancel:int4 \
         sv_being_canceled:int4 sv_idle:int4 sv_used:int4 sv_tested:int4 sv_login:int4 \
         maxwait:int4 maxwait_us:int4 pool_mode:text load_balance_hosts:text",
    ),
    (
        "DATABASES",
        "name:text host:text port:int4 database:text force_user:text pool_size:int4 \
         min_pool_size:int4 reserve_pool_size:int4 server_lifetime:int4 pool_mode:text \
         load_balance_hosts:text max_connections:int4 current_connections:int4 \
         max_client_connections:int4 current_client_connections:int4 paused:int4 \
         disabled:int4",
    ),
    (
        "USERS",
        "name:text pool_size:text reserve_pool_size:text pool_mode:text \
         max_user_connections:int4 current_connections:int4 \
         max_user_client_connections:int4 current_client_connections:int4",
    ),
    ("LISTS", "list:text items:int4"),
    ("CONFIG", "key:text value:text default:text changeable:text"),
    ("PEERS", "peer_id:int4 host:text port:int4 pool_size:int4"),
    (
        "PEER_POOLS",
        "peer_id:int4 cl_active_cancel_req:int4 cl_waiting_cancel_req:int4 \
         sv_active_cancel:int4 sv_login:int4",
    ),
    ("DNS_HOSTS", "hostname:text ttl:int8 addrs:text"),
    ("DNS_ZONES", "zonename:text serial:int8 count:int4"),
    ("client_encoding", "client_encoding:text"),
    (
        "CLIENTS",
        "type:text user:text database:text replication:text state:text addr:text port:int4 \
         local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 \
         wait_us:int4 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text \
         application_name:text prepared_statements:int4 id:int4",
    ),
    (
        "SERVERS",
        "type:text user:text database:text replication:text state:text addr:text port:int4 \
         local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 \
         wait_us:int4 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text \
         application_name:text prepared_statements:int4 id:int4",
    ),
    (
        "SOCKETS",
        "type:text user:text database:text replication:text state:text addr:text port:int4 \
         local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 \
         wait_us:int4 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text \
         application_name:text prepared_statements:int4 id:int4 recv_pos:int4 pkt_pos:int4 \
         pkt_remain:int4 send_pos:int4 send_remain:int4 pkt_avail:int4 send_avail:int4",
    ),
    (
        "ACTIVE_SOCKETS",
        "type:text user:text database:text replication:text state:text addr:text port:int4 \
         local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 \
         wait_us:int4 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text \
         application_name:text prepared_statements:int4 id:int4 recv_pos:int4 pkt_pos:int4 \
         pkt_remain:int4 send_pos:int4 send_remain:int4 pkt_avail:int4 send_avail:int4",
    ),
    (
        "FDS",
        "fd:int4 task:text user:text database:text addr:text port:int4 cancel:int8 \
         link:int4 client_encoding:text std_strings:text datestyle:text timezone:text \
         password:text scram_client_key:bytea scram_server_key:bytea",
    ),
    ("MEM", "name:text size:int4 used:int4 free:int4 memtotal:int4"),
];

/// Ours, behind those.
pub(super) const OWN: &[(&str, &str)] = &[
    ("POOLS", "sv_shared:int4 cl_riding:int4 shared_count:int8 stall_count:int8"),
    ("SERVERS", "riders:int4"),
];
