//! Settings of several clients over few servers, against one direct connection for each: whatever they
//! set, reset and roll back, each finds what it would find there.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::harness::frames::{Batch, Frame};
use crate::harness::login::Login;
use crate::harness::process::show;
use crate::harness::proxy::Rig;
use crate::harness::random::{Seed, one_in};
use crate::harness::settings::Settings;
use crate::harness::time::run_within;
use crate::harness::wire::Client;

use std::time::Duration;

const CLIENTS: usize = 4;

/// What all servers begin with, where a `connect_query` is; a direct connection has it from its DSN.
const BELOW: [(&str, &str); 5] = [
    ("search_path", "below"),
    ("TimeZone", "Europe/Rome"),
    ("app.one", "below"),
    ("statement_timeout", "3600002"),
    ("work_mem", "5MB"),
];

/// How much is tried; `PGWEIR_STEPS` is more of it.
const STEPS: usize = 10_000;

/// Tries to make a script that fails shorter.
const SHRINKS_MAX: usize = 60;

/// What each client looks at after each step. An empty value of a setting that is nobody's but the
/// client's is as good as none: a server remembers its name for ever.
const LOOK: &str = "select current_setting('work_mem'), current_setting('search_path'), \
    current_setting('TimeZone'), current_setting('DateStyle'), current_setting('application_name'), \
    current_setting('statement_timeout'), current_setting('extra_float_digits'), \
    current_setting('default_transaction_isolation'), current_setting('default_text_search_config'), \
    nullif(current_setting('app.one', true), ''), nullif(current_setting('App.Two', true), ''), \
    current_setting('role'), current_user, session_user";

const SETTINGS: &[(&str, &[&str])] = &[
    ("work_mem", &["'7MB'", "4096", "'100 kB'"]),
    ("search_path", &["public", "a, \"B c\"", "'$user', public", "''"]),
    ("TimeZone", &["'Asia/Tokyo'", "utc"]),
    ("datestyle", &["german", "'ISO, DMY'", "sql, mdy"]),
    ("application_name", &["one", "'it''s'"]),
    ("statement_timeout", &["'1h'", "3600001", "0"]),
    ("EXTRA_FLOAT_DIGITS", &["-1", "3"]),
    ("default_text_search_config", &["simple", "'pg_catalog.english'"]),
    ("app.one", &["1", "'x y'", "E'a\\nb'", "'gr\u{fc}n'"]),
    ("\"App\".two", &["on", "'2'"]),
    ("role", &["red", "\"Green\"", "none"]),
];

/// One request of one client.
#[derive(Clone, Debug)]
struct Step {
    client: usize,
    text: String,
    how: How,
}

/// How a text is sent.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Of a statement that was prepared before, under this name; the text is of no account.
    Again(&'static str),
    Named(&'static str),
    /// Several simple queries at once: it, and one that looks.
    Pipelined,
    Simple,
    Unnamed,
}

const NAMES: [&str; 3] = ["n", "m", "o"];

impl How {
    fn any(random: &mut StdRng) -> Self {
        let name = NAMES.choose(random).expect("there are some");
        match random.random_range(0..16) {
            0..3 => Self::Unnamed,
            3..5 => Self::Named(name),
            5..8 => Self::Again(name),
            8 => Self::Pipelined,
            _ => Self::Simple,
        }
    }

    fn batch(self, text: &str) -> Batch {
        let batch = Batch::new();
        match self {
            Self::Again(name) => batch.bind(name, &[]).execute().sync(),
            Self::Named(name) => {
                batch.close_statement(name).parse(name, text).bind(name, &[]).execute().sync()
            }
            Self::Pipelined => batch.query(text).query(LOOK),
            Self::Simple => batch.query(text),
            Self::Unnamed => batch.statement(text, &[]),
        }
    }

    /// How often Postgres is ready behind it.
    fn answers(self) -> usize {
        if matches!(self, Self::Pipelined) { 2 } else { 1 }
    }
}

fn choose<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(random).expect("there are some")
}

fn statement(random: &mut StdRng) -> String {
    let (name, values) = SETTINGS.choose(random).expect("there are some");
    let value = choose(random, values);
    let savepoint = choose(random, &["s", "T"]);
    let plain = name.replace('"', "");
    match random.random_range(0..40) {
        0..7 => format!("set {name} = {value}"),
        7..9 => format!("SET SESSION {name} TO {value}"),
        9..11 => format!("set local {name} to {value}"),
        11..13 => format!("reset {name}"),
        13 => format!("set {name} to default"),
        14 => "reset all".to_owned(),
        15..19 => choose(random, &["begin", "start transaction", "BEGIN"]).to_owned(),
        19..22 => choose(random, &["commit", "end", "commit and chain"]).to_owned(),
        22..24 => choose(random, &["rollback", "abort", "rollback and chain"]).to_owned(),
        24..26 => format!("savepoint {savepoint}"),
        26..28 => format!("rollback to savepoint {savepoint}"),
        28 => format!("release {savepoint}"),
        29 => "select 1/0".to_owned(),
        30 => format!("set {name} = 'no such value'"),
        31 if value.starts_with('\'') => {
            let local = choose(random, &["true", "false", "1 = 1", "1 = 0"]);
            format!("select pg_catalog.set_config('{plain}', {value}, {local})")
        }
        32 => format!("do $$ begin set {name} = {value}; end $$"),
        33 if !plain.contains('.') => {
            format!("do $$ begin perform set_config('{plain}', '', false); end $$")
        }
        34 => {
            let level = choose(random, &["serializable", "read committed", "repeatable read"]);
            format!("set session characteristics as transaction isolation level {level}")
        }
        // One that has never been set has none, but a server remembers that others have set it.
        35 if !plain.contains('.') => format!("set {name} from current"),
        36 => choose(
            random,
            &[
                "set time zone 'UTC'",
                "reset time zone",
                "set role red",
                "reset role",
                "set session authorization default",
                "set schema 'x'",
                "set names 'utf8'",
            ],
        )
        .to_owned(),
        37 => "select ';reset all' -- ; set work_mem = 1".to_owned(),
        _ => "select 1".to_owned(),
    }
}

fn step(random: &mut StdRng, has_below: bool) -> Step {
    let client = random.random_range(0..CLIENTS);
    if one_in(random, 30) {
        let how = if one_in(random, 2) { How::Simple } else { How::Unnamed };
        return Step { client, text: "discard all".to_owned(), how };
    }
    let how = How::any(random);
    let is_simple = matches!(how, How::Simple | How::Pipelined);
    let count = if is_simple && one_in(random, 3) { random.random_range(2..5) } else { 1 };
    let mut statements: Vec<_> = (0..count).map(|_| statement(random)).collect();
    if count > 1 && (has_below || has_own(client)) {
        // What it came with is set again behind the whole text: see the decision record.
        statements.retain(|sql| !sql.contains("reset") && !sql.contains("default"));
    }
    Step { client, text: statements.join("; "), how }
}

/// Whether a client comes with settings, to which a `RESET` goes back.
fn has_own(client: usize) -> bool {
    client < CLIENTS / 2
}

/// A client and its likeness that is connected to Postgres itself.
struct Pair {
    through: Client,
    direct: Client,
    status: u8,
}

/// What can be compared: tags, the codes of errors, values, the status.
fn compared(frames: &[Frame]) -> Vec<String> {
    let told = frames.iter().filter(|frame| !matches!(frame.tag, b'S' | b'N'));
    told.map(Frame::shown).collect()
}

impl Pair {
    /// Does the same with both. Answers what differs.
    async fn run(&mut self, text: &str, how: How) -> Result<(), String> {
        let [mut direct, mut through] = [Vec::new(), Vec::new()];
        self.direct.send(how.batch(text)).await;
        self.through.send(how.batch(text)).await;
        for _ in 0..how.answers() {
            direct.extend(self.direct.wire.until_ready().await);
            through.extend(self.through.wire.until_ready().await);
        }
        self.status = direct.last().map_or(b'?', |frame| frame.body[0]);
        let (direct, through) = (compared(&direct), compared(&through));
        if direct == through {
            return Ok(());
        }
        Err(format!("{text}\n  direct:  {direct:?}\n  through: {through:?}"))
    }
}

/// Runs a script from the beginning. Answers what differs first.
async fn differs((servers, has_below): (u32, bool), script: &[Step]) -> Option<String> {
    let mut settings = Settings::new().pool_size(servers);
    if has_below {
        let sets = BELOW.map(|(name, value)| format!("set {name} to '{value}'"));
        settings = settings.database("app", "connect_query", sets.join(";").as_str());
    }
    let rig = Rig::start(settings).await;
    rig.postgres.sql("create role red; create role \"Green\"; grant red, \"Green\" to app").await;
    let mut pairs = Vec::new();
    for client in 0..CLIENTS {
        let name = format!("client{client}");
        let login = |address, below: &[(&str, &str)]| {
            let mut options = below.iter().fold(String::new(), |options, (name, value)| {
                format!("{options} -c {name}={value}")
            });
            let mut login = Login::to(address);
            if has_own(client) {
                login = login.with("application_name", &name);
                options.push_str(" -c work_mem=9MB -c app.one=dsn");
            }
            if options.is_empty() { login } else { login.with("options", &options) }
        };
        let through = login(rig.address(), &[]).connect().await;
        let below: &[_] = if has_below { &BELOW } else { &[] };
        let direct = login(&rig.postgres.address(), below).connect().await;
        pairs.push(Pair { through, direct, status: b'I' });
    }
    for step in script {
        let open = pairs.iter().filter(|pair| pair.status != b'I').count();
        // Nobody would ever be served.
        if pairs[step.client].status == b'I' && open >= servers as usize {
            continue;
        }
        let pair = &mut pairs[step.client];
        let mut outcome = pair.run(&step.text, step.how).await;
        if outcome.is_ok() {
            outcome = pair.run(LOOK, How::Simple).await;
        }
        if let Err(difference) = outcome {
            return Some(format!("{step:?}: {difference}"));
        }
    }
    None
}

/// Leaves out of a script what it fails without.
async fn shrunk(rig: (u32, bool), mut script: Vec<Step>) -> Vec<Step> {
    let mut part = script.len() / 2;
    let mut tries = 0;
    while part > 0 && tries < SHRINKS_MAX {
        let mut at = 0;
        while at < script.len() && tries < SHRINKS_MAX {
            let mut shorter = script.clone();
            shorter.drain(at..(at + part).min(script.len()));
            tries += 1;
            if differs(rig, &shorter).await.is_some() {
                script = shorter;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    script
}

fn compare(servers: u32, has_below: bool) {
    run_within(Duration::from_mins(5), async move {
        let mut random = Seed::of_run().actor(u64::from(servers));
        let steps = std::env::var("PGWEIR_STEPS").ok().and_then(|steps| steps.parse().ok());
        let script: Vec<_> =
            (0..steps.unwrap_or(STEPS)).map(|_| step(&mut random, has_below)).collect();
        let rig = (servers, has_below);
        let Some(difference) = differs(rig, &script).await else { return };
        show(&difference);
        for step in shrunk(rig, script).await {
            show(&format!("{step:?}"));
        }
        panic!("{difference}");
    });
}

#[test]
fn settings_over_one_server_are_as_direct() {
    compare(1, false);
}

#[test]
fn settings_over_two_servers_are_as_direct() {
    compare(2, false);
}

#[test]
fn settings_over_three_servers_are_as_direct() {
    compare(3, false);
}

#[test]
fn settings_over_a_connect_query_are_as_direct() {
    compare(2, true);
}
