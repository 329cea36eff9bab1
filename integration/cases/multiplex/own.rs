//! Databases and users that have it otherwise than the rest.

use super::known::ask_all;
use super::{Shared, number, settings};
use crate::harness::settings::Settings;
use crate::harness::time::run;

/// How many of three share in a pool.
async fn sharing(shared: &mut Shared, database: &'static str, user: &'static str) -> u64 {
    shared.turn_to(database, user).await;
    let mut clients = shared.clients(3).await;
    shared.learn(&mut clients[0], || number(0)).await;
    ask_all(shared, &mut clients, || number(0)).await
}

/// With this for all, and that for a database and a user: who has it that way.
fn but_for(all: &str, some: &str) -> Settings {
    let settings = settings().set("multiplex", all).database("app", "multiplex", some);
    settings.user_set("other", "multiplex", all)
}

#[test]
fn a_database_and_a_user_may_have_it_otherwise() {
    run(async {
        let mut shared = Shared::start(but_for("off", "auto")).await;
        for (all, some, in_app, elsewhere) in [("off", "auto", 3, 0), ("auto", "off", 0, 3)] {
            shared.reload(&but_for(all, some)).await;
            for (database, user, expected) in [
                ("app", "app", in_app),
                // What a user says wins.
                ("app", "other", elsewhere),
                ("second", "app", elsewhere),
            ] {
                let count = sharing(&mut shared, database, user).await;
                assert_eq!(count, expected, "{database} and {user}, {some} but {all} for the rest");
            }
        }
    });
}
