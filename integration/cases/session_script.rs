//! What the proxy takes texts to do to a session, against what they do in Postgres: random texts, and
//! after each transaction the settings and channels that there should be by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pgweir::session::script::{Change, Script};
use pgweir::session::text::Text;
use rand::Rng;
use rand::seq::IndexedRandom;

use crate::harness::frames::{Batch, Frame};
use crate::harness::login::Login;
use crate::harness::postgres::Postgres;
use crate::harness::random::Seed;
use crate::harness::time::run;
use crate::harness::wire::Client;

const NAMES: [&str; 4] = ["work_mem", "app.one", "APP.Two", "lock_timeout"];
const TEXTS: usize = 1_500;

/// One statement, and now and then one that fails.
fn statement(random: &mut impl Rng) -> String {
    let savepoint = *["s", "\"S\"", "t"].choose(random).expect("there are some");
    let channel = *["c", "\"C d\"", "D"].choose(random).expect("there are some");
    let name = *NAMES.choose(random).expect("there are some");
    let number = random.random_range(100..120);
    match random.random_range(0..26) {
        0..3 => "BEGIN".to_owned(),
        3 => "start transaction read only".to_owned(),
        4..7 => "commit".to_owned(),
        7 => "end and chain".to_owned(),
        8..10 => "Rollback".to_owned(),
        10 => "abort and chain".to_owned(),
        11 => format!("/* ; */ savepoint {savepoint}"),
        12 => format!("rollback to {savepoint}"),
        13 => format!("ROLLBACK WORK TO SAVEPOINT {savepoint} -- x;"),
        14 => format!("release {savepoint}"),
        15 => format!("set {name} = {number}"),
        16 => format!("SET SESSION {name} TO '{number}'"),
        17 => format!("set local {name} = {number}"),
        18 => format!("set {name} to default"),
        19 => format!("reset {name}"),
        20 => "select 1/0".to_owned(),
        21 => "select ';set work_mem = 1', $$;reset all$$".to_owned(),
        22 => format!("listen {channel}"),
        23 => format!("unlisten {channel}"),
        24 => ["unlisten *", "discard all", "reset all"][random.random_range(0..3)].to_owned(),
        _ => format!("select 1; set {name} = 'not a number'"),
    }
}

/// What there should be.
#[derive(Default)]
struct Expected {
    settings: BTreeMap<String, String>,
    channels: BTreeSet<String>,
}

impl Expected {
    fn apply(&mut self, change: Change) {
        let text = |name: Vec<u8>| String::from_utf8(name).expect("names are ASCII here");
        match change {
            Change::DiscardAll => *self = Self::default(),
            Change::Listen(name) => drop(self.channels.insert(text(name))),
            Change::Reset(name) => drop(self.settings.remove(&name.to_lowercase())),
            Change::ResetAll => self.settings.clear(),
            Change::Set { name, value } => {
                let value = value.trim_matches('\'').to_owned();
                self.settings.insert(name.to_lowercase(), value);
            }
            Change::Unlisten(name) => drop(self.channels.remove(&text(name))),
            Change::UnlistenAll => self.channels.clear(),
        }
    }

    fn shown(&self, defaults: &[String]) -> Vec<String> {
        let values = NAMES.iter().zip(defaults).map(|(name, default)| {
            self.settings.get(&name.to_lowercase()).unwrap_or(default).clone()
        });
        values.chain(self.channels.iter().cloned()).collect()
    }
}

/// What there is: values in their own units, then channels.
async fn found(client: &mut Client) -> Vec<String> {
    let mut found = Vec::new();
    for name in NAMES {
        // What was never set, and what is reset, differ in this only.
        let sql = format!(
            "select coalesce((select setting from pg_settings where name = '{name}'), \
             current_setting('{name}', true), '')"
        );
        found.push(client.value(&sql).await);
    }
    let channels = "select c from pg_listening_channels() c order by c collate \"C\"";
    let frames = client.ask_frames(Batch::new().query(channels)).await;
    for frame in frames.iter().filter(|frame| frame.tag == b'D') {
        let value = frame.columns().remove(0).unwrap_or_default();
        found.push(String::from_utf8_lossy(&value).into_owned());
    }
    found
}

/// Tells the script of an answer to a simple query. Answers the status after it.
fn follow(script: &mut Script, text: Option<&Arc<Text>>, frames: &[Frame]) -> u8 {
    let is_followed = text.is_some_and(|text| text.is_followed());
    if let Some(text) = text {
        script.sent(text);
    }
    let mut status = b'?';
    for frame in frames {
        match frame.tag {
            b'C' => script.completed(frame.body.strip_suffix(b"\0").expect("it ends"), is_followed),
            b'E' => script.failed(),
            b'Z' => status = frame.body[0],
            _ => {}
        }
    }
    if is_followed {
        script.settled();
    }
    script.ready(status == b'I');
    status
}

#[test]
fn a_script_tells_what_postgres_has_done() {
    run(async {
        let postgres = Postgres::start().await;
        let mut client = Login::to(&postgres.address()).connect().await;
        let mut random = Seed::of_run().actor(1);
        let mut script = Script::default();
        let mut expected = Expected::default();
        let defaults = found(&mut client).await;
        let mut history: Vec<String> = Vec::new();
        for _ in 0..TEXTS {
            let count = [1, 1, 1, 2, 3, 5].choose(&mut random).expect("there are some");
            let statements: Vec<_> = (0..*count).map(|_| statement(&mut random)).collect();
            let sql = statements.join(";\n");
            let text = Text::read(sql.as_bytes(), sql.contains(';'), &[]);
            let frames = client.ask_frames(Batch::new().query(&sql)).await;
            let status = follow(&mut script, text.as_ref(), &frames);
            history.push(sql);
            assert_eq!(script.asks(), None, "{history:#?}");
            if status != b'I' {
                continue;
            }
            for change in script.take_committed() {
                expected.apply(change);
            }
            let found = found(&mut client).await;
            assert_eq!(found, expected.shown(&defaults), "{history:#?}");
            history.clear();
        }
    });
}
