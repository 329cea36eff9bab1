//! What is said about files that are wrong or odd.

use super::{GOOD, errors, one_error, one_warning, warnings, with};

/// The only error of a line under `[proxy]`.
#[track_caller]
fn proxy_error(line: &str, code: &str, words: &str) {
    one_error(&with(&format!("[proxy]\n{line}\n")), 7, code, words);
}

#[test]
fn all_problems_are_reported_in_order() {
    let found = errors(
        "[proxy]\nlisten_prot = 1\nlisten_port = 'x'\nquery_timeout = 5m\n[host.main]\n\
         [databases.app]\nhost = 'main'\npool_size = 0\n",
    );
    let lines: Vec<_> = found.iter().map(|text| text.split(':').nth(1).unwrap_or("")).collect();
    assert_eq!(lines, ["2", "3", "4", "5", "7", "8"], "{found:#?}");
}

#[test]
fn wrong_types_say_what_to_write() {
    proxy_error("listen_port = '6432'", "wrong-type", "Write 6432 without quotes.");
    proxy_error("listen_port = []", "wrong-type", "`listen_port` is a list. Write a whole number");
    proxy_error("pool_mode = 1", "wrong-type", "`\"transaction\"`, `\"session\"` or");
    proxy_error("log_connections = 'yes'", "wrong-type", "Write `true` or `false`.");
    proxy_error("log_connections = 2", "wrong-type", "Write `true` or `false`.");
    proxy_error("query_timeout = true", "wrong-type", "a duration such as `\"5s\"`");
    proxy_error("admin_users = ['a', 1]", "wrong-type", "has a number in its list");
    proxy_error("auth_file = 1979-05-27", "wrong-type", "is a date");
    proxy_error("workers = 'many'", "wrong-type", "`\"auto\"` or a whole number");
}

/// PgBouncer's form of a database, with the header to write instead.
#[test]
fn a_header_is_shown_as_toml_takes_it() {
    for (name, key) in [("shop", "shop"), ("'*'", "\"*\""), ("'a b'", "\"a b\"")] {
        let text = with(&format!("[databases]\n{name} = 'host=main'\n"));
        let said = format!("Write the header `[databases.{key}]` and one option");
        let found = errors(&text);
        assert!(found.iter().any(|line| line.contains(&said)), "{found:#?}");
    }
}

#[test]
fn values_out_of_range_say_the_range() {
    proxy_error("listen_port = 70000", "out-of-range", "from 1 to 65535");
    proxy_error("listen_port = 0", "out-of-range", "from 1 to 65535");
    proxy_error("max_client_conn = -1", "out-of-range", "is -1");
    proxy_error("min_pool_size = 99999999999999999999", "out-of-range", "from 0 to");
    proxy_error("server_login_retry = 0", "out-of-range", "\"100ms\" or more");
    proxy_error("query_timeout = '9999d'", "out-of-range", "\"3650d\" or less");
    proxy_error("tcp_keepidle = '1d'", "out-of-range", "\"32767s\" or less");
    proxy_error("max_packet_size = '3GB'", "out-of-range", "or less");
}

#[test]
fn bad_values_say_what_is_good() {
    proxy_error("query_timeout = '5m'", "bad-value", "Write `min`");
    proxy_error("query_timeout = -5", "bad-value", "negative");
    proxy_error("query_timeout = inf", "bad-value", "not a number");
    proxy_error("pool_mode = 'transactions'", "bad-value", "Did you mean `\"transaction\"`?");
    proxy_error("auth_type = 'hba'", "bad-value", "Write `\"scram-sha-256\"`");
    proxy_error("listen_addr = 'db.internal'", "bad-value", "is not an address");
    proxy_error("listen_addr = '10.0.0.1:6432'", "bad-value", "Write \"10.0.0.1\", and the port");
    proxy_error("http_addr = '9432'", "bad-value", "Write both");
    proxy_error("unix_socket_mode = 777", "bad-value", "decimal");
    proxy_error("unix_socket_mode = '999'", "bad-value", "not an octal");
    proxy_error("unix_socket_dir = 'run'", "bad-value", "relative");
    proxy_error(&format!("unix_socket_dir = '/{}'", "x".repeat(95)), "bad-value", "too long");
    proxy_error("tcp_keepintvl = '1.5s'", "bad-value", "whole seconds");
    proxy_error("max_packet_size = '1XB'", "bad-value", "unit `XB`");
    proxy_error("server_check_query = \"a\\u0000b\"", "bad-value", "zero byte");
    proxy_error(
        "multiplex_except = ['a', 'app.slow']",
        "bad-value",
        "Write \"slow\": what has that name is barred",
    );
    proxy_error("multiplex_except = ['app.\"Slow\"']", "bad-value", "Write \"Slow\"");
    proxy_error("multiplex_except = ['']", "bad-value", "of 1 to 63 bytes");
    proxy_error(&format!("multiplex_except = ['{}']", "x".repeat(64)), "bad-value", "of 1 to 63");
    proxy_error("multiplex_functions = ['app.price(int)']", "bad-value", "Write \"app.price\"");
    proxy_error("multiplex_functions = ['\"Price\"']", "bad-value", "without quotes");
}

#[test]
fn a_pool_without_a_limit_is_refused() {
    proxy_error("default_pool_size = 0", "pool-size-zero", "such as 20");
    let text = with("[databases.b]\nhost = 'main'\npool_size = 0\n");
    one_error(&text, 8, "pool-size-zero", "Postgres' connections");
}

#[test]
fn the_least_size_is_no_larger_than_the_size() {
    proxy_error("min_pool_size = 21", "min-over-size", "is 21, more than the pool's size, 20");
    let text = with("[proxy]\nmin_pool_size = 5\n[databases.b]\nhost = 'main'\npool_size = 4\n");
    one_error(&text, 10, "min-over-size", "Write 4 or less");
    let text = with("[databases.b]\nhost = 'main'\nmin_pool_size = 5\nmax_db_connections = 4\n");
    one_error(&text, 8, "min-over-size", "max_db_connections");
    let text = with("[proxy]\nmin_pool_size = 5\n[users.b]\npassword = 'x'\npool_size = 4\n");
    one_error(&text, 10, "min-over-size", "Write 4 or less");
}

#[test]
fn a_database_names_a_host_that_exists() {
    let text = with("[databases.b]\nhost = 'mian'\n");
    one_error(&text, 7, "unknown-host", "Did you mean `main`?");
    let text = with("[databases.b]\nhost = '10.0.0.1'\n");
    one_error(&text, 7, "unknown-host", "add `[hosts.main]` with `host = \"10.0.0.1\"`");
    let text = with("[databases.b]\nhost = 'replica'\n");
    one_error(&text, 7, "unknown-host", "Add the section `[hosts.replica]`.");
    one_error(&with("[databases.b]\n"), 6, "missing-key", "Write `host = \"main\"`");
}

#[test]
fn hosts_are_one_address() {
    let host = |value: &str, words: &str| {
        let text = with(&format!("[hosts.b]\nhost = '{value}'\n[databases.b]\nhost = 'b'\n"));
        one_error(&text, 7, "bad-value", words);
    };
    host("", "is empty");
    host("a,b", "several hosts");
    host("@pg", "abstract");
    host("db:5432", "Write `host = \"db\"` and `port = 5432`.");
    host("postgres://db", "neither");
}

#[test]
fn forms_of_pgbouncer_are_explained() {
    one_error(&with("[databases]\nb = 'host=main'\n"), 7, "wrong-type", "header `[databases.b]`");
    one_error(
        &with("[databases]\nhost = 'main'\n"),
        7,
        "wrong-type",
        "`[databases]`, which has no name",
    );
    one_error(&with("[pgbouncer]\nlisten_port = 1\n"), 6, "unknown-section", "`[proxy]`?");
    one_error(&format!("listen_port = 1\n{GOOD}"), 1, "unknown-key", "under the header `[proxy]`");
    proxy_error("logfile = 'x'", "unknown-key", "standard error");
    one_error("databases = 1\nusers = {}\n", 1, "wrong-type", "[databases.NAME]");
    one_error(&with("[[quotas]]\nname = 'a'\n"), 6, "unknown-section", "`[quotas]`");
    one_error(&with("[[users]]\nname = 'a'\n"), 6, "duplicate-key", "`users`");
    one_error(&with("[databases.pgbouncer]\nhost = 'main'\n"), 6, "reserved-name", "console");
}

#[test]
fn the_same_twice_is_refused_in_every_form() {
    let again = |more: &str, line: usize| {
        let found = errors(&with(more));
        let start = format!("dir/proxy.toml:{line}: error [duplicate-key]");
        assert!(found.iter().any(|text| text.starts_with(&start)), "{start}\n{found:#?}");
    };
    again("[databases.app]\nhost = 'main'\n", 6);
    again("[databases.\"app\"]\nhost = 'main'\n", 6);
    again("[databases]\napp.host = 'main'\n", 7);
    again("[users.b]\npassword = 'x'\npassword = 'y'\n", 8);
}

#[test]
fn a_broken_line_hides_no_other_problem_and_makes_none() {
    let text = "[users.app]\n[hosts.main\nport = 5432\n[databases.app]\nhost = 'main'\n; ini\n\
                [proxy]\nlisten_prot = 1\n";
    let found = errors(text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].contains(":2: error [toml-syntax]"), "{found:#?}");
    assert!(found[1].contains(":6: error [toml-syntax]"), "{found:#?}");
    assert!(found[2].contains(":8: error [unknown-key]"), "{found:#?}");
    // No header is lost, so a host that is not there is a mistake of its own.
    let found = errors(&with("[databases.b]\nhost = 'mian'\npool_size = 5 servers\n"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("Did you mean `main`?"), "{found:#?}");
}

#[test]
fn secrets_are_in_no_finding() {
    for line in ["password = ['hunter2']", "password = hunter2", "server_password = 'hunter2'"] {
        let found = errors(&with(&format!("[users.b]\n{line}\n"))).join("\n");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn nothing_that_listens_is_an_error() {
    let text = with("[proxy]\nlisten_addr = ''\nunix_socket_dir = ''\n");
    one_error(&text, 7, "nothing-listens", "Set one");
}

#[test]
fn what_is_legal_but_odd_is_a_warning() {
    assert_eq!(warnings(GOOD), Vec::<String>::new());
    let empty = warnings("");
    assert_eq!(empty.len(), 2, "{empty:#?}");
    one_warning(&with("[hosts.spare]\n"), 6, "unused-host");
    one_warning(&with("[users.b]\npool_size = 1\n"), 6, "no-password");
    one_warning(&with("[proxy]\nscram_iterations = 100\n"), 7, "weak-scram");
    one_warning(&with("[proxy]\nadmin_users = 'ap'\n"), 7, "unknown-user");
    one_warning(&with("[proxy]\nauth_type = 'trust'\nlisten_addr = '*'\n"), 7, "open-to-all");
    one_warning(&with("[proxy]\nauth_type = 'plain'\nlisten_addr = '*'\n"), 7, "clear-text");
    let md5 = format!("[users.b]\npassword = 'md5{}'\n", "0".repeat(32));
    one_warning(&with(&md5), 7, "unusable-secret");
    let small = "[hosts.b]\nmax_connections = 5\n[databases.b]\nhost = 'b'\npool_size = 6\n";
    one_warning(&with(small), 10, "pool-over-host");
    one_warning(&with("[proxy]\nmax_prepared_statements = 0\n"), 7, "statements-pin");
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let session = "[proxy]\npool_mode = 'session'\ndefer_begin = true\n";
    one_warning(&with(session), 8, "no-effect");
    one_warning(&with("[proxy]\npool_mode = 'statement'\ndefer_begin = true\n"), 8, "no-effect");
    let one_pools = format!("{session}[databases.b]\nhost = 'main'\npool_mode = 'transaction'\n");
    assert_eq!(warnings(&with(&one_pools)), Vec::<String>::new());
    let odd = "[databases.b]\nhost = 'main'\npool_mode = 'session'\ndefer_begin = true\n";
    one_warning(&with(odd), 9, "no-effect");
    let user = "[users.b]\npassword = 'x'\ndefer_begin = true\npool_mode = 'session'\n";
    one_warning(&with(user), 8, "no-effect");
    assert_eq!(warnings(&with("[proxy]\ndefer_begin = true\n")), Vec::<String>::new());
}
