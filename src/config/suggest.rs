//! Names that are not known, and what was probably meant.

use super::findings::Problem;
use super::options::{self, Default, Opt, Section};

/// The known name that is nearest to `name`, if it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| {
        strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase())
    };
    // A third of the letters wrong is still a typing mistake; more is another word.
    let limit = (name.chars().count() / 3).max(1);
    let scored = known.map(|candidate| (distance(candidate), candidate));
    scored.filter(|(far, _)| *far <= limit).min_by_key(|(far, _)| *far).map(|(_, near)| near)
}

/// What to say about a key that a section does not have.
pub(super) fn unknown_key(section: Section, name: &str) -> Problem {
    let message = format!("`{name}` is no option of {}.", section.header());
    Problem::new("unknown-key", message, key_action(section, name))
}

/// What to say about a section that does not exist.
pub(super) fn unknown_section(name: &str, is_table: bool) -> Problem {
    if !is_table {
        let message = format!("`{name}` stands before any section.");
        let home = options::find(Section::Proxy, name)
            .map_or("Options stand under a header such as `[proxy]`.".to_owned(), |_| {
                "Write it under the header `[proxy]`.".to_owned()
            });
        return Problem::new("unknown-key", message, home);
    }
    let near = match name {
        // What people who come from PgBouncer write.
        "pgbouncer" | "pgweir" => Some(Section::Proxy),
        "class" => Some(Section::Class),
        "peers" => {
            return Problem::new(
                "unknown-section",
                "there is no section `[peers]`.",
                "pgweir does not have peers: one process uses all cores. Remove it.",
            );
        }
        _ => nearest(name, Section::top().map(Section::name))
            .and_then(|near| Section::top().find(|section| section.name() == near)),
    };
    let action = if let Some(near) = near {
        format!("Did you mean `{}`?", near.header())
    } else {
        let headers: Vec<_> =
            Section::top().map(|section| format!("`{}`", section.header())).collect();
        format!("The sections are {}.", headers.join(", "))
    };
    Problem::new("unknown-section", format!("there is no section `[{name}]`."), action)
}

fn key_action(section: Section, name: &str) -> String {
    if let Some((_, instead)) = RENAMED.iter().find(|(old, _)| *old == name)
        && options::find(section, instead).is_some()
    {
        return format!("It is `{instead}` here.");
    }
    let homes: Vec<_> = Section::ALL
        .into_iter()
        .filter(|other| is_home(*other, section, name))
        .map(|other| format!("`{}`", other.header()))
        .collect();
    if !homes.is_empty() {
        return format!("It belongs in {}.", homes.join(" or "));
    }
    // Exact names of PgBouncer's before near ones of ours: `auth_user` is no typing mistake.
    if let Some((_, why)) = ABSENT.iter().find(|(absent, _)| *absent == name) {
        return (*why).to_owned();
    }
    let parts = section.parts().map(Section::name);
    match nearest(name, options::of(section).map(|option| option.name).chain(parts)) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => "Remove it; docs/config.md has every option.".to_owned(),
    }
}

/// Whether an option that `section` does not have was meant for `other`.
fn is_home(other: Section, section: Section, name: &str) -> bool {
    // What is part of classes has names that mean other things elsewhere, such as `user`.
    let is_near = match other.parent() {
        Some(parent) => section == parent || section.parent() == Some(parent),
        None => true,
    };
    // What a section cannot be without is there: this is not it.
    let is_missing = |option: &Opt| !matches!(option.default, Default::Required(_));
    other != section && is_near && options::find(other, name).is_some_and(is_missing)
}

/// Other names for what we have.
const RENAMED: &[(&str, &str)] = &[
    ("user", "server_user"),
    ("password", "server_password"),
    ("reserve_pool", "reserve_pool_size"),
    ("pool_size", "default_pool_size"),
    ("default_pool_size", "pool_size"),
    ("pid_file", "pidfile"),
    ("connection_limit", "max_connections"),
    ("name", "dbname"),
    ("db", "database"),
    ("dbname", "database"),
    ("username", "user"),
    ("application", "application_name"),
    ("app_name", "application_name"),
    ("address", "client"),
    ("ip", "client"),
    ("rate", "transactions_per_second"),
];

const NOT_YET: &str = "pgweir does not have it yet. Remove it.";
const LOG: &str =
    "The log goes to standard error, where systemd and containers take it. Remove it.";
const TUNING: &str = "pgweir needs no such tuning. Remove it.";

/// PgBouncer's settings that have no equivalent, and why.
pub(super) const ABSENT: &[(&str, &str)] = &[
    ("application_name_add_host", NOT_YET),
    ("auth_dbname", NOT_YET),
    ("auth_hba_file", NOT_YET),
    ("auth_ident_file", NOT_YET),
    ("auth_ldap_options", NOT_YET),
    ("auth_query", NOT_YET),
    ("auth_user", NOT_YET),
    ("autodb_idle_timeout", NOT_YET),
    ("client_encoding", "Use `connect_query`, such as \"SET client_encoding = 'UTF8'\"."),
    ("client_tls_ca_file", NOT_YET),
    ("client_tls_cert_file", NOT_YET),
    ("client_tls_ciphers", NOT_YET),
    ("client_tls_key_file", NOT_YET),
    ("client_tls_protocols", NOT_YET),
    ("client_tls_sslmode", NOT_YET),
    ("conffile", "The file is named on the command line. Remove it."),
    ("datestyle", "Use `connect_query`, such as \"SET datestyle = 'ISO'\"."),
    ("disable_pqexec", NOT_YET),
    ("dns_max_ttl", NOT_YET),
    ("dns_nxdomain_ttl", NOT_YET),
    ("dns_zone_check_period", NOT_YET),
    ("job_name", LOG),
    ("load_balance_hosts", NOT_YET),
    ("logfile", LOG),
    ("peer_id", "One process uses all cores, so it needs no peers. Remove it."),
    ("pkt_buf", TUNING),
    ("resolv_conf", NOT_YET),
    ("sbuf_loopcnt", TUNING),
    ("server_fast_close", NOT_YET),
    ("server_tls_ca_file", NOT_YET),
    ("server_tls_cert_file", NOT_YET),
    ("server_tls_ciphers", NOT_YET),
    ("server_tls_key_file", NOT_YET),
    ("server_tls_protocols", NOT_YET),
    ("server_tls_sslmode", NOT_YET),
    ("service_name", LOG),
    ("so_reuseport", "One process uses all cores: set `workers`. Remove it."),
    ("syslog", LOG),
    ("syslog_facility", LOG),
    ("syslog_ident", LOG),
    ("tcp_defer_accept", TUNING),
    ("tcp_socket_buffer", TUNING),
    ("timezone", "Use `connect_query`, such as \"SET timezone = 'UTC'\"."),
    ("track_extra_parameters", NOT_YET),
    ("unix_socket_group", "Use the directory's group and `unix_socket_mode`. Remove it."),
    ("user", "Start the proxy as the user that it is to run as. Remove it."),
    ("verbose", LOG),
];

#[cfg(test)]
mod tests {
    use super::{ABSENT, nearest, unknown_key, unknown_section};
    use crate::config::options::{self, Section};

    fn action(section: Section, name: &str) -> String {
        unknown_key(section, name).action
    }

    #[test]
    fn what_is_told_to_be_absent_is_no_option() {
        for (name, _) in ABSENT {
            assert!(options::find(Section::Proxy, name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_misspelt_key_gets_the_nearest_one() {
        for (written, meant) in [
            ("listen_prot", "listen_port"),
            ("querry_wait_timeout", "query_wait_timeout"),
            ("max_client_con", "max_client_conn"),
            ("Pool_Mode", "pool_mode"),
        ] {
            assert_eq!(action(Section::Proxy, written), format!("Did you mean `{meant}`?"));
        }
        assert!(!action(Section::Proxy, "frobnicate").contains("mean"));
    }

    #[test]
    fn a_key_in_the_wrong_section_is_sent_home() {
        assert_eq!(action(Section::Database, "port"), "It belongs in `[hosts.NAME]`.");
        assert_eq!(action(Section::Proxy, "dbname"), "It belongs in `[databases.NAME]`.");
    }

    #[test]
    fn parts_of_a_class_are_known_in_classes_only() {
        assert_eq!(action(Section::Class, "mach"), "Did you mean `match`?");
        assert_eq!(action(Section::Class, "per_adress"), "Did you mean `per_address`?");
        assert_eq!(action(Section::Class, "user"), "It belongs in `[classes.match]`.");
        assert_eq!(action(Section::Class, "shed"), "It belongs in `[overload]`.");
        assert_eq!(action(Section::ClassMatch, "dbname"), "It is `database` here.");
        assert_eq!(action(Section::ClassMatch, "aplication_name"), {
            "Did you mean `application_name`?"
        });
        assert_eq!(action(Section::ClassMatch, "weight"), "It belongs in `[[classes]]`.");
        assert_eq!(action(Section::ClassPerAddress, "busrt"), "Did you mean `burst`?");
        assert_eq!(action(Section::User, "max_in_flight"), "It belongs in `[[classes]]`.");
        assert!(action(Section::Proxy, "user").starts_with("Start the proxy as"));
        assert!(action(Section::User, "name").starts_with("Remove it"));
    }

    #[test]
    fn what_pgbouncer_has_and_we_have_not_is_explained() {
        assert_eq!(action(Section::Database, "user"), "It is `server_user` here.");
        assert_eq!(action(Section::Database, "password"), "It is `server_password` here.");
        assert_eq!(action(Section::Proxy, "pool_size"), "It is `default_pool_size` here.");
        assert!(action(Section::Proxy, "logfile").contains("standard error"));
        assert!(unknown_section("pgbouncer", true).action.contains("[proxy]"));
    }

    #[test]
    fn sections_are_suggested_too() {
        assert!(unknown_section("database", true).action.contains("[databases.NAME]"));
        assert!(unknown_section("class", true).action.contains("`[[classes]]`"));
        assert!(unknown_section("overlaod", true).action.contains("`[overload]`"));
        assert!(unknown_section("quotas", true).action.contains("The sections are"));
        assert!(unknown_section("listen_port", false).action.contains("under the header"));
    }

    #[test]
    fn nothing_near_is_no_suggestion() {
        assert_eq!(nearest("x", ["proxy", "hosts"].into_iter()), None);
        assert_eq!(nearest("", ["proxy"].into_iter()), None);
    }
}
