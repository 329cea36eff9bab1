//! Postgres' own programs: psql and pgbench.

use std::process::Command;

use super::{LIMIT, environment, output_of, rig};
use crate::harness::Address;
use crate::harness::postgres::binary;
use crate::harness::proxy::Rig;
use crate::harness::time::run_within;

const SCRIPT: &str = r"
\set ON_ERROR_STOP off
create table notes (id serial primary key, body text);
insert into notes (body) values ('one'), ('two') returning id;
begin;
update notes set body = upper(body);
savepoint before;
select 1/0;
rollback to before;
commit;
\copy notes from program 'printf ''10\tten\n11\televen\n'''
\copy (select * from notes order by id) to stdout
select * from no_such_table;
do $$ begin raise notice 'hello'; end $$;
\d notes
\dt
select * from notes order by id \gx
select $1 as bound \bind 'value' \g
\set FETCH_COUNT 2
select n from generate_series(1, 5) n;
drop table notes;
";

async fn psql(address: &Address) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file is made");
    std::fs::write(file.path(), SCRIPT).expect("the script is written");
    let mut command = Command::new("sh");
    let psql = format!("exec {} -X -e -f {} 2>&1", binary("psql"), file.path().display());
    command.arg("-c").arg(psql);
    environment(&mut command, address);
    let said = output_of(command).await;
    // psql names the file in its errors.
    said.replace(&file.path().display().to_string(), "SCRIPT")
}

#[test]
fn psql_says_the_same_as_without_a_proxy() {
    run_within(LIMIT, async {
        let rig = rig().await;
        let expected = psql(&rig.postgres.address()).await;
        assert!(expected.contains("division by zero"), "the script ran: {expected}");
        assert_eq!(psql(rig.address()).await, expected);
    });
}

/// Runs pgbench and checks that it did all its transactions, and that they add up.
async fn pgbench(rig: &Rig, clients: u32, arguments: &[&str]) {
    let mut command = Command::new(binary("pgbench"));
    command.args(["--no-vacuum", "--jobs=2", "--transactions=20"]);
    command.arg(format!("--client={clients}")).args(arguments);
    environment(&mut command, rig.address());
    let said = output_of(command).await;
    let wanted = clients * 20;
    let processed = format!("number of transactions actually processed: {wanted}/{wanted}");
    assert!(said.contains(&processed), "{arguments:?}: {said}");
    assert!(said.contains("number of failed transactions: 0 "), "{arguments:?}: {said}");
    let sums =
        "select (select sum(abalance) from pgbench_accounts) = sum(delta) from pgbench_history";
    assert_eq!(rig.postgres.value(sums).await, "t", "{arguments:?}");
}

#[test]
fn pgbench_runs_in_every_mode() {
    run_within(LIMIT, async {
        let rig = rig().await;
        let mut initialise = Command::new(binary("pgbench"));
        initialise.args(["--initialize", "--quiet"]);
        environment(&mut initialise, rig.address());
        output_of(initialise).await;
        pgbench(&rig, 20, &["--protocol=simple"]).await;
        pgbench(&rig, 20, &["--protocol=extended"]).await;
        // These prepare by name, and each may keep its server.
        pgbench(&rig, 6, &["--protocol=prepared"]).await;
        pgbench(&rig, 10, &["--protocol=simple", "--connect"]).await;
        pgbench(&rig, 20, &["--protocol=simple", "--select-only"]).await;
    });
}
