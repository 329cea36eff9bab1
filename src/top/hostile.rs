//! A console may send anything: whatever it is, there is a picture of it.

use super::draw::{Paint, draw};
use super::look::Look;
use super::model::Model;
use super::plain::{as_json, as_text};
use super::sample::{Sample, Show};
use super::table::Table;
use crate::net::worker::read_clock;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// What means something here, of each result set; others are beside it.
const HEADS: [(Show, &str); 11] = [
    (Show::Version, "version"),
    (Show::State, "key value"),
    (
        Show::Pools,
        "database user cl_active cl_waiting sv_active sv_active_cancel sv_being_canceled sv_idle \
         sv_used sv_tested sv_login maxwait maxwait_us pool_mode",
    ),
    (Show::Databases, "name pool_size paused disabled"),
    (
        Show::Stats,
        "database total_server_assignment_count total_xact_count total_query_count total_received \
         total_sent total_xact_time total_query_time total_wait_time total_client_login_count",
    ),
    (
        Show::Overload,
        "database user state seconds cause error limit_ms refused_last_minute pool_size active \
         idle_in_transaction longest_idle_ms longest_idle_application kept_idle",
    ),
    (
        Show::Classes,
        "name host priority in_flight max_in_flight queued share_percent fair_percent granted \
         refused wait_p50_us patience_ms shedding",
    ),
    (Show::Waits, "id database user wait_us cause longest_us longest_pid addr port holders"),
    (Show::Holders, "pid id database user state held_us idle_us waiting addr port"),
    (Show::Clients, "id ptr database user state application_name addr port wait wait_us"),
    (Show::Servers, "remote_pid database user state addr port request_time"),
];

/// Names and states that two tables may have in common.
const WORDS: [&str; 8] = ["app", "web", "pgweir", "yes", "shedding", "paused", "active", "waiting"];

/// What lies over a screen, sorting, moving, filtering.
const KEYS: [KeyCode; 13] = [
    KeyCode::Char('?'),
    KeyCode::Char('/'),
    KeyCode::Char('a'),
    KeyCode::Char('r'),
    KeyCode::Enter,
    KeyCode::Enter,
    KeyCode::Enter,
    KeyCode::Esc,
    KeyCode::Left,
    KeyCode::Right,
    KeyCode::Down,
    KeyCode::End,
    KeyCode::PageUp,
];

/// Numbers whose sums and products are too large. The second is the largest that is also an `f64`.
const HUGE: [u64; 3] = [u64::MAX, u64::MAX - 2_047, u64::MAX / 2];

type Cell = Option<String>;

fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        2 => Just(None),
        8 => (0..100_u64).prop_map(|number| Some(number.to_string())),
        8 => select(&HUGE[..]).prop_map(|number| Some(number.to_string())),
        1 => prop::num::f64::ANY.prop_map(|number| Some(number.to_string())),
        6 => select(&WORDS[..]).prop_map(|word| Some(word.to_owned())),
        3 => vec(any::<char>(), 0..12).prop_map(|letters| Some(letters.into_iter().collect())),
        1 => (select(&['x', '\u{301}', '\u{200d}', '漢', '\x1b', ' '][..]), 0..70_000_usize)
            .prop_map(|(letter, count)| Some(std::iter::repeat_n(letter, count).collect())),
    ]
}

/// Of `known` columns at most; some rows have large numbers in all of them.
fn row(known: usize) -> impl Strategy<Value = Vec<Cell>> {
    let huge = select(&HUGE[..]).prop_map(|number| Some(number.to_string()));
    prop_oneof![3 => vec(cell(), 0..=known), 1 => vec(huge, known)]
}

/// A result set as it comes: the columns that it should have, more of them, and rows as long or shorter.
fn table(head: &'static str) -> impl Strategy<Value = Table> {
    let more = prop_oneof![40 => 0..3_usize, 2 => 30_000..70_000_usize];
    let known = head.split(' ').count();
    let rows = vec((row(known), any::<bool>()), 0..6);
    (more, rows, any::<bool>()).prop_map(move |(more, rows, are_numbers)| {
        let mut body = vec![0, 0];
        let beside = (0..more).map(|place| format!("more_{place}_us"));
        for name in head.split(' ').map(str::to_owned).chain(beside) {
            body.extend(name.as_bytes());
            body.extend([0; 7]);
            body.extend(if are_numbers { 20_u32 } else { 25 }.to_be_bytes());
            body.extend([0; 8]);
        }
        let mut table = Table::described(&body).expect("well formed");
        for (mut cells, is_whole) in rows {
            if is_whole {
                cells.resize(known, None);
                cells.resize(known + more, Some("1".to_owned()));
            }
            table.read_row(&data_row(&cells)).expect("well formed");
        }
        table
    })
}

fn data_row(cells: &[Cell]) -> Vec<u8> {
    let mut body = vec![0, 0];
    for cell in cells {
        let length = cell.as_ref().map_or(-1, |text| i32::try_from(text.len()).expect("short"));
        body.extend(length.to_be_bytes());
        body.extend(cell.iter().flat_map(String::as_bytes));
    }
    body
}

type Tables = BTreeMap<Show, Table>;

/// All result sets, or without some.
fn tables() -> impl Strategy<Value = Tables> {
    let of = |(show, head)| prop::option::weighted(0.9, table(head).prop_map(move |it| (show, it)));
    Vec::from(HEADS.map(of)).prop_map(|tables| tables.into_iter().flatten().collect())
}

fn sample(at: Instant, tables: Tables) -> Sample {
    let missing = HEADS.map(|(show, _)| show).into_iter().filter(|show| !tables.contains_key(show));
    let refused = missing.map(|show| (show, "no such \x1b[2J".to_owned())).collect();
    Sample { at, time: SystemTime::UNIX_EPOCH, connection: 1, tables, refused }
}

fn is_safe(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_control() && letter != '\n')
}

/// The terminals that there are, and some that there are not.
fn size() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![
        6 => (1..300_u16, 1..80_u16),
        4 => (20..100_u16, 6..9_u16),
        1 => (65_000..=u16::MAX, 6..9_u16)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_a_console_sends_there_is_a_picture_of_it(
        before in tables(),
        now in tables(),
        looks in vec((prop::char::range('1', '6'), vec(select(&KEYS[..]), 0..4), size()), 1..8),
    ) {
        let start = read_clock();
        let samples = [before, now].map(|tables| sample(start, tables));
        let [before, mut now] = samples;
        now.at += Duration::from_secs(1);
        let mut look = Look::new("here".to_owned(), Duration::from_secs(1));
        look.take(before.clone());
        look.take(now.clone());
        for (screen, keys, (width, height)) in looks {
            look.press(KeyEvent::from(KeyCode::Esc));
            for key in std::iter::once(KeyCode::Char(screen)).chain(keys) {
                look.press(KeyEvent::from(key));
            }
            let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
            draw(&mut look, Paint { has_colours: true }, start, &mut buffer);
            prop_assert!(buffer.content.iter().all(|cell| is_safe(cell.symbol())));
        }
        let model = Model::new(Some(before), now);
        prop_assert!(is_safe(&as_text(&model, "here")));
        let json = format!("{:#}", as_json(&model, "here"));
        prop_assert!(is_safe(&json));
    }
}
