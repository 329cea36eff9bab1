//! One question and the answer it must get, to the byte where the token is.

use rand::Rng;
use rand::rngs::StdRng;

use crate::harness::frames::{Batch, Frame};

/// What one message of the answer must be.
pub(super) enum Want {
    /// Any message with this tag.
    Tag(u8),
    /// A message with exactly this body.
    Exact(u8, Vec<u8>),
    /// A message whose body contains this.
    Containing(u8, Vec<u8>),
}

impl Want {
    pub(super) fn is_met_by(&self, frame: &Frame) -> bool {
        match self {
            Self::Tag(tag) => frame.tag == *tag,
            Self::Exact(tag, body) => frame.tag == *tag && frame.body == *body,
            Self::Containing(tag, part) => {
                frame.tag == *tag && frame.body.windows(part.len()).any(|window| window == part)
            }
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Self::Tag(tag) => char::from(*tag).to_string(),
            Self::Exact(tag, body) => Frame { tag: *tag, body: body.clone() }.shown(),
            Self::Containing(tag, part) => {
                format!("{} with {}", char::from(*tag), String::from_utf8_lossy(part))
            }
        }
    }
}

/// What is sent in one write, and for each ReadyForQuery that follows the messages before it.
pub(super) struct Exchange {
    pub(super) batch: Batch,
    pub(super) answers: Vec<Vec<Want>>,
}

/// A `DataRow` of text columns.
fn row(columns: &[&str]) -> Want {
    let count = u16::try_from(columns.len()).expect("few columns");
    let mut body = count.to_be_bytes().to_vec();
    for column in columns {
        body.extend(u32::try_from(column.len()).expect("short columns").to_be_bytes());
        body.extend(column.as_bytes());
    }
    Want::Exact(b'D', body)
}

fn tags(tags: &str) -> Vec<Want> {
    tags.bytes().map(Want::Tag).collect()
}

fn ready(status: u8) -> Want {
    Want::Exact(b'Z', vec![status])
}

fn simple(sql: &str, rows: impl IntoIterator<Item = Want>, status: u8) -> Exchange {
    let mut answer = tags("T");
    answer.extend(rows);
    answer.extend([Want::Tag(b'C'), ready(status)]);
    Exchange { batch: Batch::new().query(sql), answers: vec![answer] }
}

fn extended_answer(value: &str) -> Vec<Want> {
    let mut answer = tags("12");
    answer.extend([row(&[value]), Want::Tag(b'C'), ready(b'I')]);
    answer
}

/// A question outside a transaction that carries `token`. `party`: what its client has set.
pub(super) fn alone(token: &str, party: &str, random: &mut StdRng) -> Exchange {
    match random.random_range(0..11) {
        0 => {
            let sql = format!("select '{token}', current_setting('application_name')");
            simple(&sql, [row(&[token, party])], b'I')
        }
        1..3 => simple(&format!("select '{token}'"), [row(&[token])], b'I'),
        3..5 => Exchange {
            batch: Batch::new().statement("select $1::text", &[token]),
            answers: vec![extended_answer(token)],
        },
        5 => many_rows(token, random.random_range(1..300)),
        6 => {
            let times = random.random_range(1..20_000);
            let sql = format!("select repeat('{token}', {times})");
            simple(&sql, [row(&[&token.repeat(times)])], b'I')
        }
        7 => said(token, "exception", b'E'),
        8 => said(token, "notice", b'N'),
        9 => pipeline(token, random.random_range(2..10)),
        _ => several_statements(token),
    }
}

fn many_rows(token: &str, count: usize) -> Exchange {
    let sql = format!("select '{token}', n from generate_series(1, {count}) n");
    simple(&sql, (1..=count).map(|n| row(&[token, &n.to_string()])), b'I')
}

fn said(token: &str, how: &str, tag: u8) -> Exchange {
    let sql = format!("do $$ begin raise {how} '{token}'; end $$");
    let mut answer = vec![Want::Containing(tag, format!("M{token}\0").into_bytes())];
    if tag == b'N' {
        answer.push(Want::Tag(b'C'));
    }
    answer.push(ready(b'I'));
    Exchange { batch: Batch::new().query(&sql), answers: vec![answer] }
}

fn pipeline(token: &str, count: usize) -> Exchange {
    let mut exchange = Exchange { batch: Batch::new(), answers: vec![] };
    for number in 0..count {
        let value = format!("{token}/{number}");
        exchange.batch = exchange.batch.statement("select $1::text", &[&value]);
        exchange.answers.push(extended_answer(&value));
    }
    exchange
}

fn several_statements(token: &str) -> Exchange {
    let lines = format!("copy (select '{token}' from generate_series(1, 3)) to stdout");
    let sql = format!("select '{token}'; {lines}; select 'last {token}'");
    let mut answer = vec![Want::Tag(b'T'), row(&[token]), Want::Tag(b'C'), Want::Tag(b'H')];
    let line = format!("{token}\n").into_bytes();
    answer.extend((0..3).map(|_| Want::Exact(b'd', line.clone())));
    answer.extend(tags("cCT"));
    answer.extend([row(&[&format!("last {token}")]), Want::Tag(b'C'), ready(b'I')]);
    Exchange { batch: Batch::new().query(&sql), answers: vec![answer] }
}

/// The steps of a transaction in which only this client's setting may be seen.
pub(super) fn transaction(token: &str, random: &mut StdRng) -> Vec<Exchange> {
    let command = |sql: &str, status| Exchange {
        batch: Batch::new().query(sql),
        answers: vec![vec![Want::Tag(b'C'), ready(status)]],
    };
    let set = format!("select set_config('crosstalk.token', '{token}', true)");
    let mut steps = vec![command("begin", b'T'), simple(&set, [row(&[token])], b'T')];
    for _ in 0..random.random_range(1..4) {
        let sql = "select current_setting('crosstalk.token')";
        steps.push(simple(sql, [row(&[token])], b'T'));
    }
    steps.push(command(if random.random() { "commit" } else { "rollback" }, b'I'));
    steps
}

/// A statement prepared in one round trip and used in the next: it must still be this client's. One that
/// an exchange before has left, because it was disturbed, is closed first.
pub(super) fn prepared(token: &str, name: &str) -> Vec<Exchange> {
    let parse = Batch::new().close_statement(name).parse(name, &format!("select '{token}'")).sync();
    let execute = Batch::new().bind(name, &[]).execute().sync();
    let mut answer = tags("2");
    answer.extend([row(&[token]), Want::Tag(b'C'), ready(b'I')]);
    vec![
        Exchange {
            batch: parse,
            answers: vec![vec![Want::Tag(b'3'), Want::Tag(b'1'), ready(b'I')]],
        },
        Exchange { batch: execute, answers: vec![answer] },
    ]
}

/// Makes the name of a statement free for the same client's next one.
pub(super) fn close(name: &str) -> Exchange {
    let answer = vec![Want::Tag(b'3'), ready(b'I')];
    Exchange { batch: Batch::new().close_statement(name).sync(), answers: vec![answer] }
}

/// A query that is slow enough to be cancelled.
pub(super) fn slow(token: &str) -> Exchange {
    simple(&format!("select '{token}', pg_sleep(0.02)"), [row(&[token, ""])], b'I')
}

pub(super) fn rollback() -> Batch {
    Batch::new().query("rollback")
}
