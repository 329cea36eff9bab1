//! What is said about classes and overload settings that are wrong or odd.

use super::{errors, one_error, one_warning, warnings, with};

/// Two classes, the second as given, from line 9 on.
fn second(lines: &str) -> String {
    let first = "[[classes]]\nname = 'a'\nmatch = { user = 'app' }\n";
    with(&format!("{first}[[classes]]\n{lines}\n{OTHERS}"))
}

/// Another user and another database: not everybody is in a class of `app`.
const OTHERS: &str = "[users.other]\npassword = 'x'\n[databases.other]\nhost = 'main'\n";

/// The only error of a class' line, which is the third of its section.
#[track_caller]
fn class_error(line: &str, code: &str, words: &str) {
    let text = with(&format!("[[classes]]\nname = 'b'\nmatch = {{}}\n{line}\n"));
    one_error(&text, 9, code, words);
}

/// The same for an entry of its `match`.
#[track_caller]
fn match_error(entry: &str, code: &str, words: &str) {
    let text = with(&format!("[[classes]]\nname = 'b'\nmatch = {{ {entry} }}\n"));
    one_error(&text, 8, code, words);
}

#[test]
fn limits_that_serve_nobody_are_refused() {
    for name in ["max_clients", "max_in_flight", "max_queued"] {
        class_error(&format!("{name} = 0"), "out-of-range", "Leave it out for no limit.");
        class_error(&format!("{name} = -1"), "out-of-range", "is -1");
        class_error(&format!("per_address = {{ {name} = 0 }}"), "out-of-range", "no limit");
    }
    for name in ["transactions_per_second", "server_seconds_per_second"] {
        for value in ["0", "0.0", "-1", "-0.5", "inf", "nan", "1e-9", "1e9"] {
            class_error(&format!("{name} = {value}"), "out-of-range", "out for no limit.");
        }
        class_error(&format!("{name} = '5'"), "wrong-type", "Write 5 without quotes.");
        class_error(&format!("{name} = 'many'"), "wrong-type", "a number from 0.001 to");
    }
    let burst = "transactions_per_second = 1\nburst = 0";
    let text = with(&format!("[[classes]]\nname = 'b'\nmatch = {{}}\n{burst}\n"));
    one_error(&text, 10, "out-of-range", "Leave it out for what a second brings");
    class_error("weight = 0", "out-of-range", "from 1 to 1000");
    class_error("weight = 1001", "out-of-range", "from 1 to 1000");
    class_error("reserved = -1", "out-of-range", "from 0 to");
}

#[test]
fn contradictions_are_refused() {
    class_error("reserved = 5\nmax_in_flight = 4", "contradiction", "Write 4 or less");
    let few = "is 3, more than `max_clients`, 2: each client has one server.";
    class_error("reserved = 3\nmax_clients = 2", "contradiction", few);
    let fine = "name = 'b'\nmatch = {}\nreserved = 2\nmax_clients = 2";
    assert_eq!(warnings(&second(fine)), [""; 0]);
    class_error("burst = 5", "contradiction", "without `transactions_per_second`");
    class_error("on_excess = 'reject'", "contradiction", "without `transactions_per_second`");
    class_error("per_address = { burst = 5 }", "contradiction", "without");
    class_error("per_address = { on_excess = 'delay' }", "contradiction", "without");
    for name in [
        "max_clients",
        "max_in_flight",
        "max_queued",
        "transactions_per_second",
        "server_seconds_per_second",
    ] {
        let lines = format!("per_address = {{ {name} = 3 }}\n{name} = 2");
        class_error(&lines, "contradiction", "each address is 3, more than that of the class, 2.");
    }
    let burst = "per_address = { transactions_per_second = 1, burst = 9 }";
    class_error(&format!("{burst}\ntransactions_per_second = 5"), "contradiction", "`burst` of");
    // What addresses inherit is used by them, and what nobody wrote contradicts nothing.
    let fine = "on_excess = 'reject'\nper_address = { transactions_per_second = 1 }";
    assert_eq!(warnings(&second(&format!("name = 'b'\nmatch = {{}}\n{fine}"))), [""; 0]);
    let fine =
        "transactions_per_second = 9\nburst = 1\nper_address = { transactions_per_second = 9 }";
    assert_eq!(warnings(&second(&format!("name = 'b'\nmatch = {{}}\n{fine}"))), [""; 0]);
    let logins = "[overload]\nlogins_per_second = 1\nlogins_per_second_per_address = 1.5\n";
    one_error(&with(logins), 8, "contradiction", "Write 1 or less");
}

#[test]
fn classes_have_names_of_their_own() {
    one_error(&second("match = {}"), 9, "missing-key", "Write `name = \"batch\"`");
    one_error(&second("name = 'a'\nmatch = {}"), 10, "class-twice", "on line 7 already");
    one_error(&second("name = 'a b'"), 10, "bad-name", "letters, digits");
    one_error(&second("name = '*'"), 10, "bad-name", "letters, digits");
    one_error(&second(&format!("name = '{}'", "x".repeat(64))), 10, "bad-name", "63 at most");
}

#[test]
fn classes_are_a_list_of_sections() {
    one_error(&with("[classes.etl]\n"), 6, "wrong-type", "`[[classes]]` and `name = \"etl\"`");
    one_error(&with("[classes.match]\n"), 6, "wrong-type", "`name = \"batch\"` under it");
    one_error(&with("[classes]\nname = 'a'\n"), 6, "wrong-type", "their order matters");
    one_error(&with("[[class]]\nname = 'a'\n"), 6, "unknown-section", "mean `[[classes]]`?");
    one_error(&format!("classes = 1\n{}", with("")), 1, "wrong-type", "is a number");
    one_error(&format!("classes = [\n1]\n{}", with("")), 2, "wrong-type", "a number in it");
    class_error("per_address = 1", "wrong-type", "Write `per_address = { ... }`, or the header");
    one_error(&with("[[overload]]\n"), 6, "wrong-type", "Write the header [overload]");
    let many = "[[classes]]\nname = 'a'\nmatch = 1\n".repeat(1_001);
    assert!(errors(&with(&many)).iter().any(|text| text.contains("more than 1000 classes")));
}

#[test]
fn misspelt_names_get_the_nearest_one() {
    class_error("max_inflight = 1", "unknown-key", "Did you mean `max_in_flight`?");
    class_error("aplication_name = 'x'", "unknown-key", "");
    class_error("user = 'x'", "unknown-key", "It belongs in `[classes.match]`.");
    class_error("priority = 'sheddabel'", "bad-value", "Did you mean `\"sheddable\"`?");
    class_error("per_address = { max_client = 1 }", "unknown-key", "Did you mean `max_clients`?");
    match_error("usr = 'app'", "unknown-key", "Did you mean `user`?");
    match_error("application = 'x'", "unknown-key", "It is `application_name` here.");
    one_error(&with("[overload]\nshedd = 'off'\n"), 7, "unknown-key", "Did you mean `shed`?");
    one_error(&with("[overload]\nshed = 'aut'\n"), 7, "bad-value", "Did you mean `\"auto\"`?");
    one_error(&with("[overload]\nshed = 0\n"), 7, "out-of-range", "\"1ms\" or more");
    one_error(&with("[overload]\nshed = 'never'\n"), 7, "bad-value", "or a duration such as");
    one_error(&with("[overload]\nmax_logins = 0\n"), 7, "out-of-range", "from 1 to");
}

#[test]
fn lines_are_right_within_parts() {
    let text = "[[classes]]\nname = 'b'\n[classes.match]\nuser = 'app'\nclient = 'db.internal'\n\
                [classes.per_address]\nmax_queued = 'x'\n";
    let found = errors(&with(text));
    let lines: Vec<_> = found.iter().map(|text| text.split(':').nth(1).unwrap_or("")).collect();
    assert_eq!(lines, ["10", "12"], "{found:#?}");
}

#[test]
fn rules_name_what_can_be() {
    match_error("user = ''", "bad-value", "is empty");
    match_error("user = []", "bad-value", "is empty");
    match_error("user = ['app', '']", "bad-value", "an empty name");
    match_error("application_name = ''", "bad-value", "`[\"\"]` is clients that give none");
    match_error("user = 1", "wrong-type", "a list such as");
    match_error(&format!("application_name = '{}'", "x".repeat(101)), "bad-value", "100");
    match_error("client = 'db.internal'", "bad-value", "or \"unix\"");
    match_error("client = '10.*'", "bad-value", "a network such as");
    match_error("client = '10.0.0.1/8'", "bad-value", "Write \"10.0.0.0/8\", or \"10.0.0.1\" for");
    match_error("client = '10.0.0.0/33'", "bad-value", "neither an address nor a network");
}

#[test]
fn a_class_that_an_earlier_one_shadows_is_refused() {
    let shadowed = |first: &str, second: &str| {
        let text = format!(
            "[[classes]]\nname = 'a'\nmatch = {{ {first} }}\n[[classes]]\nname = 'b'\n\
             match = {{ {second} }}\n{OTHERS}"
        );
        super::try_parse(&with(&text)).err()
    };
    for (first, second) in [
        ("", "user = 'app'"),
        ("", ""),
        ("user = 'a*'", "user = ['app', 'a?p'], database = 'app'"),
        ("application_name = ['x', '*']", "application_name = 'etl-*'"),
        ("application_name = '*'", ""),
        ("client = '10.0.0.0/8'", "client = ['10.1.0.0/16', '10.2.3.4'], user = 'app'"),
        ("client = ['10.0.0.0/9', '10.128.0.0/9']", "client = '10.0.0.0/8'"),
        ("client = ['unix', '0.0.0.0/0', '::/0']", ""),
        ("client = ['unix', '10.0.0.1']", "client = 'unix'"),
    ] {
        let found = shadowed(first, second).unwrap_or_default();
        assert_eq!(found.len(), 1, "{first} / {second}: {found:#?}");
        assert!(found[0].starts_with("dir/proxy.toml:11: error [shadowed-class]"), "{found:#?}");
        assert!(found[0].contains("`a` on line 6 matches them all before"), "{found:#?}");
        assert!(found[0].ends_with("Move `b` before `a`, or narrow the `match` of `a`."));
    }
    for (first, second) in [
        ("user = 'app'", ""),
        ("user = 'app', client = 'unix'", "user = 'app'"),
        ("application_name = 'etl-?'", "application_name = 'etl-*'"),
        ("client = '10.0.0.0/9'", "client = '10.0.0.0/8'"),
        ("client = ['0.0.0.0/0', '::/0']", ""),
        ("client = '::/0'", "client = '10.0.0.1'"),
    ] {
        assert_eq!(shadowed(first, second), None, "{first} / {second}");
    }
    // A rule that lost a part because it was wrong is not taken for a wider one.
    assert_eq!(shadowed("client = 'x'", "user = 'app'").unwrap_or_default().len(), 1);
}

/// `a` from line 6 on, then what is given, and last a rule that is wider than both.
#[track_caller]
fn all_that_there_are(matches: [&str; 2], last: &str, more: &str) -> Vec<String> {
    let [a, b] = matches;
    let text = format!(
        "[[classes]]\nname = 'a'\nmatch = {{ {a} }}\n[[classes]]\nname = 'b'\n\
         match = {{ {b} }}\n[[classes]]\nname = 'c'\nmatch = {{ {last} }}\n{more}"
    );
    let found = warnings(&with(&text)).into_iter();
    found.filter(|warning| warning.contains("[shadowed-class]")).collect()
}

/// Others may come one day, whom such a class is for.
#[test]
fn a_class_is_shadowed_by_those_that_list_all_users_or_databases() {
    let users = "[users.etl]\npassword = 'x'\n";
    let both = "[databases.b]\nhost = 'main'\n";
    let x = "application_name = 'x'";
    for (matches, last, more, words) in [
        (
            [x, "user = ['app', 'etl']"],
            "database = 'app'",
            users,
            "`b` on line 9 matches all users there are before",
        ),
        (
            ["user = 'a*'", "user = 'etl'"],
            "",
            users,
            "`a` on line 6 and `b` on line 9 match all users there are",
        ),
        ([x, "database = ['app', 'b']"], "user = 'app'", both, "all databases there are before"),
        (
            ["user = 'app', database = 'app'", "database = 'b'"],
            "",
            both,
            "all users and databases there are",
        ),
        // Only those that it is for count.
        ([x, "user = 'etl'"], "user = '?t*'", users, "all users there are"),
    ] {
        let found = all_that_there_are(matches, last, more);
        assert_eq!(found.len(), 1, "{matches:?}: {found:#?}");
        assert!(found[0].starts_with("dir/proxy.toml:14: warning [shadowed-class]"), "{found:#?}");
        assert!(found[0].contains(words), "{words}: {found:#?}");
    }
    let many: Vec<_> = (0..400).map(|n| format!("[users.u{n}]\npassword = 'x'\n")).collect();
    let many = many.concat();
    assert_eq!(all_that_there_are([x, "user = ['app', 'u*']"], "", &many).len(), 1);
    for (matches, last, more) in [
        ([x, "user = 'app'"], "", users),
        ([x, "database = 'app'"], "", both),
        (["user = 'app', client = 'unix'", "user = 'etl'"], "", users),
        (
            ["user = 'app', database = 'app'", "user = 'etl', database = 'b'"],
            "",
            &format!("{users}{both}"),
        ),
        // Others may come whose names nobody knows.
        ([x, "user = ['app', 'etl']"], "", "[proxy]\nauth_type = 'trust'\n"),
        ([x, "database = 'app'"], "", "[databases.'*']\nhost = 'main'\n"),
    ] {
        assert_eq!(all_that_there_are(matches, last, more), [""; 0], "{matches:?}");
    }
}

#[test]
fn a_class_of_a_socket_that_is_turned_off_is_refused() {
    let class = |client: &str, more: &str| {
        with(&format!(
            "[[classes]]\nname = 'b'\nmatch = {{ client = {client} }}\n[proxy]\n{more}\n"
        ))
    };
    let words = "Set `unix_socket_dir`, or write other addresses.";
    one_error(&class("'unix'", "unix_socket_dir = ''"), 8, "contradiction", words);
    one_warning(&class("['unix', '10.0.0.1']", "unix_socket_dir = ''"), 8, "never-reached");
    assert_eq!(warnings(&class("'unix'", "")), [""; 0]);
    assert_eq!(warnings(&class("'10.0.0.1'", "unix_socket_dir = ''")), [""; 0]);
}

#[test]
fn a_broken_line_makes_no_rule_wider_and_no_class_unknown() {
    let text = "choose_class = ['gone']\n[[classes]]\nname = 'a'\nmatch = { user = app }\n\
                [[classes]]\nname = gone\nmatch = {}\nburst = 1\ntransactions_per_second = 5 a\n";
    let found = errors(&with(text));
    assert!(found.iter().all(|text| text.contains("[toml-syntax]")), "{found:#?}");
}

#[test]
fn users_choose_classes_that_exist() {
    let text = "choose_class = ['reprot']\n[[classes]]\nname = 'report'\nmatch = {}\n";
    one_error(&with(text), 6, "unknown-class", "Did you mean `report`?");
    let text = "choose_class = 'gone'\n";
    one_error(&with(text), 6, "unknown-class", "Add `[[classes]]` with `name = \"gone\"`");
    let any = "choose_class = '*'\n";
    one_error(&with(any), 6, "unknown-class", "there are no classes to choose from");
    let some = format!("{any}[[classes]]\nname = 'a'\n");
    assert_eq!(warnings(&with(&some)), [""; 0]);
}

#[test]
fn classes_reserve_no_more_than_a_host_has() {
    let classes = |databases: [&str; 2]| {
        let class = |name: &str, database: &str| {
            format!("[[classes]]\nname = '{name}'\nmatch = {{ {database} }}\nreserved = 6\n")
        };
        with(&format!(
            "[databases.b]\nhost = 'b'\n[hosts.b]\nmax_connections = 10\npool = 1\n{}{}",
            class("a", databases[0]),
            class("b", databases[1])
        ))
        .replace("pool = 1\n", "")
        .replace("[databases.b]\n", "[databases.b]\npool_size = 6\n")
    };
    let over = classes(["application_name = 'x'", ""]);
    one_error(&over, 18, "contradiction", "reserve 12 servers of `[hosts.b]`, which has 10");
    let over = classes(["database = 'b', client = 'unix'", "database = '?'"]);
    assert!(errors(&over)[0].contains("[hosts.b]"));
    assert_eq!(warnings(&classes(["database = 'b'", "database = 'app'"])), [""; 0]);
}

#[test]
fn classes_without_clients_and_names_without_owners_are_odd() {
    let class = |lines: &str| with(&format!("[[classes]]\nname = 'b'\n{lines}\n"));
    one_warning(&class(""), 6, "class-without-clients");
    one_warning(&class("match = { user = 'ap' }"), 8, "unknown-user");
    one_warning(&class("match = { database = 'ap*x' }"), 8, "unknown-database");
    one_warning(&class("match = { database = 'pgweir' }"), 8, "unknown-database");
    assert!(warnings(&class("match = { user = 'ap' }"))[0].ends_with("Did you mean `app`?"));
    let star = "[databases.'*']\nhost = 'main'\n";
    let any = class(&format!("match = {{ database = 'x' }}\n{star}"));
    assert_eq!(warnings(&any), [""; 0]);
    let trust = class("match = { user = 'x' }\n[proxy]\nauth_type = 'trust'\n");
    assert_eq!(warnings(&trust), [""; 0]);
}

#[test]
fn timeouts_that_others_are_faster_than_are_odd() {
    one_warning(&with("[overload]\nlogin_wait = '1min'\n"), 7, "never-reached");
    one_warning(&with("[overload]\nshed = '10s'\n"), 7, "never-reached");
    let longer = "[databases.b]\nhost = 'main'\nquery_wait_timeout = 0\n[overload]\nshed = '10s'\n";
    assert_eq!(warnings(&with(longer)), [""; 0]);
}
