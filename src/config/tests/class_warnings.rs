//! What is said about classes that are valid, and have a part that never matters.

use super::{errors, one_warning, try_parse, warnings, with};

const NOTHING: [&str; 0] = [];

/// A class of everybody, with these lines from line 9 on, and whatever follows.
fn class(lines: &str) -> String {
    with(&format!("[[classes]]\nname = 'b'\nmatch = {{ user = 'app' }}\n{lines}\n"))
}

/// The only warning, which is on line 9.
#[track_caller]
fn never(lines: &str, words: &str) {
    one_warning(&class(lines), 9, "never-reached");
    let found = &warnings(&class(lines))[0];
    assert!(found.contains(words), "{words}\n{found}");
}

#[track_caller]
fn fine(text: &str) {
    assert_eq!(warnings(text), NOTHING, "{text}");
}

#[test]
fn more_clients_than_the_proxy_lets_in_are_no_quota() {
    never("max_clients = 1001", "is 1001, but `max_client_conn` lets in 1000 in all.");
    never("per_address = { max_clients = 1001 }", "Write less than 1000, or leave it out");
    fine(&class("max_clients = 1000\nper_address = { max_clients = 1000 }"));
    fine(&class("max_clients = 1001\n[proxy]\nmax_client_conn = 2000"));
}

#[test]
fn more_waiters_than_a_host_has_are_no_quota() {
    let limit = "[overload]\nmax_queued = 100\n";
    never(&format!("max_queued = 101\n{limit}"), "`max_queued` of `[overload]` lets 100 wait");
    never(&format!("per_address = {{ max_queued = 101 }}\n{limit}"), "is 101");
    fine(&class(&format!("max_queued = 100\n{limit}")));
    fine(&class("max_queued = 100000"));
}

#[test]
fn each_client_has_one_request() {
    never("max_queued = 3\nmax_clients = 2", "is 3, but `max_clients` is 2, with a request each.");
    never("per_address = { max_queued = 3, max_clients = 2 }", "`max_queued` is 3");
    never("max_in_flight = 3\nmax_clients = 2", "`max_in_flight` is 3");
    fine(&class("max_queued = 2\nmax_in_flight = 2\nmax_clients = 2"));
    fine(&class("max_queued = 3\nper_address = { max_clients = 2 }"));
}

#[test]
fn no_more_server_time_passes_than_there_are_servers() {
    let pool = "[proxy]\ndefault_pool_size = 5\n";
    never(&format!("server_seconds_per_second = 5.5\n{pool}"), "hold 5 at most on `[hosts.main]`");
    never(
        &format!("per_address = {{ server_seconds_per_second = 5.5 }}\n{pool}"),
        "`server_seconds_per_second` is 5.5",
    );
    never("server_seconds_per_second = 2.5\nmax_in_flight = 2", "`max_in_flight` is 2");
    fine(&class(&format!("server_seconds_per_second = 5.0\n{pool}")));
    fine(&class("server_seconds_per_second = 2.0\nmax_in_flight = 2"));
}

#[test]
fn no_more_servers_are_reserved_than_a_classs_pools_have() {
    let pool = "[proxy]\ndefault_pool_size = 5\n";
    never(&format!("reserved = 6\n{pool}"), "is 6, but its pools hold 5 at most");
    fine(&class(&format!("reserved = 5\n{pool}")));
}

/// Clients of the pool who are not in the class would wait for as long as it is busy.
#[test]
fn who_reserves_a_whole_pool_starves_the_rest_of_it() {
    let all = |more: &str, reserved: u32| {
        let pool = "[proxy]\ndefault_pool_size = 5\n";
        let rule = format!("match = {{ user = 'app'{more} }}");
        with(&format!("[[classes]]\nname = 'b'\n{rule}\nreserved = {reserved}\n{pool}"))
    };
    for part in [", application_name = 'x*'", ", client = '10.0.0.0/8'"] {
        one_warning(&all(part, 5), 9, "reserves-all");
        fine(&all(part, 4));
    }
    // There is nobody else.
    fine(&all("", 5));
}

/// Classes of `app`, with these parts of their matches and so many servers reserved, from line 6 on, four
/// lines each, in a pool of five servers.
fn reserving(classes: &[(&str, u32)], more: &str) -> String {
    let class = |(index, (part, reserved)): (usize, &(&str, u32))| {
        let name = char::from(b'a' + u8::try_from(index).unwrap());
        format!(
            "[[classes]]\nname = '{name}'\nmatch = {{ user = 'app'{part} }}\nreserved = {reserved}\n"
        )
    };
    let classes: String = classes.iter().enumerate().map(class).collect();
    with(&format!("{classes}[proxy]\ndefault_pool_size = 5\n{more}"))
}

#[test]
fn several_classes_may_reserve_a_whole_pool_together() {
    let [x, y, z] = ["x", "y", "z"].map(|name| format!(", application_name = '{name}*'"));
    let found = reserving(&[(&x, 2), (&y, 3)], "");
    one_warning(&found, 13, "reserves-all");
    let words =
        "with `a` on line 6 this reserves 5 servers, and their pools hold 5 on `[hosts.main]`";
    assert!(warnings(&found)[0].contains(words), "{:#?}", warnings(&found));
    fine(&reserving(&[(&x, 2), (&y, 2)], ""));
    one_warning(&reserving(&[(&x, 2), (&y, 2), (&z, 2)], ""), 17, "reserves-all");
    // One of them alone is told so, once.
    one_warning(&reserving(&[(&x, 5), (&y, 2)], ""), 9, "reserves-all");
    // There is nobody else.
    fine(&reserving(&[(&x, 2), ("", 3)], ""));
    fine(&reserving(&[(", client = 'unix'", 2), (", client = ['0.0.0.0/0', '::/0']", 3)], ""));
}

#[test]
fn where_a_class_has_other_pools_its_reserve_need_not_come_from_one() {
    let [x, y] = ["x", "y"].map(|name| format!(", application_name = '{name}*'"));
    let other = "[databases.b]\nhost = 'main'\n";
    fine(&reserving(&[(&x, 2), (&y, 3)], other));
    one_warning(&reserving(&[(&x, 4), (&y, 6)], other), 13, "reserves-all");
    // What the first reserves may come from either, what the second does from one.
    let one = format!("{y}, database = 'b'");
    fine(&reserving(&[(&x, 5), (&one, 4)], other));
    one_warning(&reserving(&[(&x, 6), (&one, 4)], other), 13, "reserves-all");
    // Names that nobody knows.
    fine(&reserving(&[(&x, 2), (&y, 3)], "[databases.'*']\nhost = 'main'\n"));
    fine(&reserving(&[(&x, 2), (&y, 3)], "auth_type = 'trust'\n").replace("user = 'app', ", ""));
}

#[test]
fn several_classes_may_reserve_a_whole_host_together() {
    let app = ", application_name = 'x*'";
    let hosts = |most: u32| {
        let more = "[users.b]\npassword = 'b'\n[users.c]\npassword = 'c'\n";
        let text = reserving(&[(app, 3), (app, 4)], more);
        let text = text.replacen("user = 'app'", "user = 'b'", 1);
        text.replace("[hosts.main]\n", &format!("[hosts.main]\nmax_connections = {most}\n"))
    };
    one_warning(&hosts(7), 14, "reserves-all");
    fine(&hosts(8));
}

/// Everybody of its own pool is in the class; those of other pools are not.
#[test]
fn one_class_may_reserve_a_whole_host() {
    let hosts = |most: u32, users: &str| {
        let text =
            reserving(&[("", 4)], users).replace("default_pool_size = 5", "default_pool_size = 4");
        text.replace("[hosts.main]\n", &format!("[hosts.main]\nmax_connections = {most}\n"))
    };
    let other = "[users.b]\npassword = 'b'\n";
    let found = hosts(4, other);
    one_warning(&found, 10, "reserves-all");
    assert!(warnings(&found)[0].contains("nobody in its other pools"), "{:#?}", warnings(&found));
    fine(&hosts(5, other));
    fine(&hosts(4, ""));
}

#[test]
fn more_servers_than_a_classs_pools_have_are_no_quota() {
    let pool = "[proxy]\ndefault_pool_size = 5\nreserve_pool_size = 1\n";
    never(&format!("max_in_flight = 7\n{pool}"), "is 7, but its pools hold 6 at most on");
    never(&format!("per_address = {{ max_in_flight = 7 }}\n{pool}"), "`[hosts.main]`");
    fine(&class(&format!("max_in_flight = 6\n{pool}")));
    never("max_in_flight = 3\n[proxy]\nmax_db_connections = 2", "hold 2 at most");
    never("max_in_flight = 3\n[proxy]\nmax_user_connections = 2", "hold 2 at most");
    // Each user's own pools count.
    never("max_in_flight = 3\n[proxy]\ndefault_pool_size = 1", "Leave it out: it never matters.");
    fine(&class("max_in_flight = 9\n[proxy]\ndefault_pool_size = 5\n[databases.b]\nhost = 'main'"));
    let more = "[proxy]\ndefault_pool_size = 5\n[databases.b]\nhost = 'main'\npool_size = 1\n\
                [users.x]\npassword = 'x'\n";
    let any = |most: u32| {
        let class = format!("[[classes]]\nname = 'b'\nmatch = {{}}\nmax_in_flight = {most}\n");
        with(&format!("{class}{more}"))
    };
    one_warning(&any(13), 9, "never-reached");
    fine(&any(12));
    // A user's own size wins.
    let own = |most: u32| {
        let text = class(&format!("max_in_flight = {most}\n{more}"));
        text.replace("[users.app]\n", "[users.app]\npool_size = 9\n")
    };
    one_warning(&own(19), 10, "never-reached");
    fine(&own(18));
}

#[test]
fn the_host_with_most_servers_for_a_class_counts() {
    let hosts = |most: u32| {
        class(&format!(
            "max_in_flight = {most}\n[proxy]\ndefault_pool_size = 5\n[databases.b]\nhost = 'b'\n\
             [hosts.b]\n[databases.c]\nhost = 'b'\n"
        ))
    };
    one_warning(&hosts(11), 9, "never-reached");
    assert!(warnings(&hosts(11))[0].contains("hold 10 at most on `[hosts.b]`"));
    fine(&hosts(10));
}

#[test]
fn nobody_knows_how_many_pools_there_are_where_names_are_free() {
    let many = "max_in_flight = 5000\n";
    fine(&class(&format!("{many}[databases.'*']\nhost = 'main'\n")));
    let any = "[[classes]]\nname = 'b'\nmatch = {}\nmax_in_flight = 5000\n";
    fine(&with(&format!("{any}[proxy]\nauth_type = 'trust'\n")));
    let named = "[[classes]]\nname = 'b'\nmatch = { user = ['x', 'y'], database = ['c', 'd'] }\n\
                 max_in_flight = 5\n[databases.'*']\nhost = 'main'\n\
                 [proxy]\nauth_type = 'trust'\ndefault_pool_size = 1\n";
    one_warning(&with(named), 9, "never-reached");
    fine(&with(&named.replace("= 5", "= 4")));
    let capped = class(&format!("{many}[databases.'*']\nhost = 'main'\n"));
    let capped = capped.replace("[hosts.main]\n", "[hosts.main]\nmax_connections = 50\n");
    one_warning(&capped, 10, "never-reached");
}

#[test]
fn who_chooses_a_class_uses_pools_too() {
    let chosen = |most: u32| {
        let class = format!("[[classes]]\nname = 'b'\nmax_in_flight = {most}\n");
        let chooser = "[users.x]\npassword = 'x'\nchoose_class = 'b'\n";
        with(&format!("{class}{chooser}[proxy]\ndefault_pool_size = 5\n"))
    };
    one_warning(&chosen(6), 8, "never-reached");
    fine(&chosen(5));
    let both = chosen(10).replace("name = 'b'\n", "name = 'b'\nmatch = { user = 'app' }\n");
    fine(&both);
}

/// Classes `a`, `b` and so on, with these matches, from line 6 on, three lines each.
fn classes(matches: &[&str]) -> String {
    let class = |(index, rule): (usize, &&str)| {
        let name = char::from(b'a' + u8::try_from(index).unwrap());
        format!("[[classes]]\nname = '{name}'\nmatch = {{ {rule} }}\n")
    };
    with(&matches.iter().enumerate().map(class).collect::<String>())
}

#[test]
fn several_classes_may_shadow_one_together() {
    for matches in [
        ["application_name = 'x*'", "application_name = 'y*'", "application_name = ['xa', 'y?']"],
        ["client = 'unix'", "client = ['0.0.0.0/0', '::/0']", "user = 'app'"],
        [
            "application_name = 'x', client = 'unix'",
            "application_name = 'x', client = '10.0.0.0/8'",
            "application_name = 'x', client = ['unix', '10.1.0.0/16'], user = 'app'",
        ],
        [
            "user = 'app', application_name = '*1'",
            "application_name = '*2'",
            "user = 'app', application_name = ['*a1', '*a2']",
        ],
    ] {
        let found = errors(&classes(&matches));
        assert_eq!(found.len(), 1, "{matches:?}: {found:#?}");
        assert!(found[0].starts_with("dir/proxy.toml:14: error [shadowed-class]"), "{found:#?}");
        let words = "no client gets to class `c`: `a` on line 6 and `b` on line 9 match them all";
        assert!(found[0].contains(words), "{found:#?}");
        assert!(found[0].ends_with("Move `c` before them, or narrow their `match`."));
    }
    let names: Vec<_> = (0..6).map(|n| format!("application_name = 'x{n}*'")).collect();
    let mut matches: Vec<_> = names.iter().map(String::as_str).collect();
    matches.push("application_name = ['x0', 'x1', 'x2', 'x3', 'x4', 'x5']");
    let found = errors(&classes(&matches));
    assert!(
        found[0].contains("`c` on line 12, `d` on line 15 and 2 more match them"),
        "{found:#?}"
    );
}

#[test]
fn what_some_of_a_class_get_past_is_not_shadowed() {
    for matches in [
        ["application_name = 'x*'", "application_name = 'y*'", "application_name = ['x', 'z']"],
        ["client = 'unix'", "client = '0.0.0.0/0'", "user = 'app'"],
        // Each name is matched, but not from everywhere.
        [
            "application_name = 'x', client = 'unix'",
            "application_name = 'y'",
            "application_name = ['x', 'y']",
        ],
        // All names together are matched, by no rule in particular: too hard to say.
        ["application_name = '?*'", "application_name = ['']", "user = 'app'"],
        ["user = 'app', client = 'unix'", "database = 'app', application_name = 'x'", ""],
    ] {
        fine(&classes(&matches));
    }
    // Too many combinations to be looked at.
    let long: Vec<_> = (0..300).map(|n| format!("'x{n}'")).collect();
    let long = format!("application_name = [{}]", long.join(", "));
    fine(&classes(&["application_name = 'x1*'", "application_name = ['x*2']", &long]));
}

#[test]
fn a_class_that_may_be_chosen_is_not_said_to_have_no_clients() {
    let text = classes(&["", "user = 'app'"]);
    assert!(errors(&text)[0].contains("no client gets to class `b`: `a` on line 6 matches"));
    let text = text.replace("[users.app]\n", "[users.app]\nchoose_class = 'b'\n");
    let found = &errors(&text)[0];
    assert!(found.starts_with("dir/proxy.toml:12: error [shadowed-class]"), "{found}");
    assert!(found.contains("nobody is in class `b` by its `match`, only who chooses it: `a`"));
    assert!(
        found.ends_with("Leave its `match` out, move it before `a`, or narrow the `match` of `a`.")
    );
    let text = text.replace("match = { user = 'app' }\n", "");
    assert!(try_parse(&text).is_ok());
}

/// `[overload]` has the pressure timeout on line 7, and these sections follow.
fn pressure(time: &str, more: &str) -> String {
    with(&format!("[overload]\nidle_transaction_pressure_timeout = '{time}'\n{more}"))
}

#[test]
fn pressure_comes_before_the_timeout_that_needs_none() {
    let limit = "[proxy]\nidle_transaction_timeout = '10s'\n";
    one_warning(&pressure("10s", limit), 7, "never-reached");
    let found = &warnings(&pressure("10s", limit))[0];
    assert!(found.contains("but `idle_transaction_timeout` comes first, after 10s."), "{found}");
    fine(&pressure("9s", limit));
    fine(&pressure("9h", ""));
    // Somebody has more time, or less of it is for somebody alone.
    fine(&pressure(
        "10s",
        &format!("{limit}[users.x]\npassword = 'x'\nidle_transaction_timeout = 0\n"),
    ));
    fine(&pressure(
        "10s",
        &format!("{limit}[databases.x]\nhost = 'main'\nidle_transaction_timeout = '1h'\n"),
    ));
    fine(&pressure("5s", "[users.x]\npassword = 'x'\nidle_transaction_timeout = '1s'\n"));
    // But not who has a word of their own for both.
    let own = "[users.x]\npassword = 'x'\nidle_transaction_timeout = 0\n\
               idle_transaction_pressure_timeout = '1h'\n";
    one_warning(&pressure("10s", &format!("{limit}{own}")), 7, "never-reached");
}

#[test]
fn pressure_on_one_database_or_user_comes_before_its_timeout() {
    let limit = "[proxy]\nidle_transaction_timeout = '10s'\n";
    let section = |header: &str, lines: &str| with(&format!("[{header}]\n{lines}\n{limit}"));
    let database = "host = 'main'\nidle_transaction_pressure_timeout";
    one_warning(&section("databases.x", &format!("{database} = '10s'")), 8, "never-reached");
    fine(&section("databases.x", &format!("{database} = '9s'")));
    let longer = "idle_transaction_timeout = '1min'";
    fine(&section("databases.x", &format!("{database} = '10s'\n{longer}")));
    let user = "password = 'x'\nidle_transaction_pressure_timeout";
    one_warning(&section("users.x", &format!("{user} = '10s'")), 8, "never-reached");
    fine(&section("users.x", &format!("{user} = 0")));
    fine(&section("users.x", &format!("{user} = '10s'\n{longer}")));
    fine(&section("users.x", &format!("{user} = '10s'\n[databases.x]\nhost = 'main'\n{longer}")));
}
