//! Screens as text: pictures in `golden/`, which `PGWEIR_BLESS=1 cargo test --lib top` draws anew; and
//! what keys do to them.

use super::draw::{Paint, draw};
use super::look::{Effect, Look, Lost, Over, Screen};
use super::sample::{Sample, Show};
use super::table::tests::table;
use crate::net::worker::read_clock;
use ratatui_core::backend::TestBackend;
use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const VERSION: &str = "PgBouncer_1.25.2_(pgweir_0.1.0)";
const STATE: &str = "active yes\npaused no\nsuspended no";
const POOLS: &str = "
    database user cl_active# cl_waiting# sv_active# sv_active_cancel# sv_being_canceled# sv_idle#
        sv_used# sv_tested# sv_login# maxwait# maxwait_us# pool_mode";
const DATABASES: &str = "name host pool_size# paused# disabled#";
const STATS: &str = "
    database total_server_assignment_count# total_xact_count# total_query_count# total_received#
        total_sent# total_xact_time# total_query_time# total_wait_time# total_client_login_count#";
const OVERLOAD: &str = "
    database user state seconds# cause error waiting# limit_ms# patience_ms# refused_last_minute#
        pool_size# active# idle_in_transaction# longest_idle_ms# longest_idle_application kept_idle#";
const CLASSES: &str = "
    name host priority weight# clients# in_flight# max_in_flight# queued# granted# refused#
        wait_p50_us# wait_p99_us# service_p50_us# service_p99_us# share_percent# fair_percent# addresses#";

type Shows<'a> = [(Show, &'a str, &'a str)];

/// The head of a table may go over several lines.
fn sample(at: Instant, shows: &Shows<'_>) -> Sample {
    let tables = shows.iter().map(|(show, head, rows)| {
        let head = head.split_whitespace().collect::<Vec<_>>().join(" ");
        (*show, table(&format!("{head}\n{rows}")))
    });
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    Sample { at, time, connection: 1, tables: tables.collect(), refused: BTreeMap::new() }
}

/// A proxy of ours with a pool that sheds, one that is well and one that is paused.
fn weir(at: Instant, seconds: u64) -> Sample {
    let n = |per_second: u64| 1_000 + per_second * seconds;
    let stats = format!(
        "app {0} {0} {1} {2} {3} {4} {5} {6} 7\nbi 5 5 5 500 500 90000 90000 0 1\n\
         pgbouncer 99 99 99 99 99 99 99 99 {0}",
        n(1_234),
        n(5_000),
        n(1_200_000),
        n(23_000_000),
        n(4_000_000),
        n(3_000_000),
        n(250_000_000)
    );
    let classes = format!(
        "checkout main critical 3 40 6 0 0 {} 0 120 900 1500 9000 30.1 25.0 3\n\
         reports main sheddable 1 171 4 4 31 {} {} 90000 405000 80000 700000 69.9 75.0 1",
        n(800),
        n(40),
        n(3)
    );
    sample(
        at,
        &[
            (Show::Version, "version", VERSION),
            (Show::State, "key value", STATE),
            (
                Show::Pools,
                POOLS,
                "app web 180 31 19 1 0 0 0 0 0 0 405123 transaction
                 bi bi 12 0 1 0 0 3 0 0 1 0 0 session
                 pgbouncer pgbouncer 1 0 0 0 0 0 0 0 0 0 0 statement
                 old me 0 2 0 0 0 0 0 0 0 3 4000 transaction",
            ),
            (Show::Databases, DATABASES, "app db 20 0 0\nbi db 40 0 0\nold db 20 1 0"),
            (Show::Stats, STATS, &stats),
            (
                Show::Overload,
                OVERLOAD,
                "app web shedding 12 a_server:_all_of_the_pool_are_in_use_(pool_size) - 31 402 503 135
                     20 14 6 47000 billing 0
                 bi bi healthy 4000 - - 0 - - 0 40 1 0 - - 0
                 old me paused 3 RESUME:_an_operator_has_paused_the_database - 2 - - 0 20 0 0 - - 0"
                    .replace("135\n                     20", "135 20")
                    .as_str(),
            ),
            (Show::Classes, CLASSES, &classes),
        ],
    )
}

/// The same, looked at for who waits and who has the servers.
fn weir_in_full(at: Instant, seconds: u64) -> Sample {
    let mut sample = weir(at, seconds);
    let waits = table(
        "id# user database application_name addr port# class host wait_us# cause waits_for behind holders# idle_in_transaction# longest_pid# longest_us# longest_state longest_application_name news_us#
         7 web app checkout 10.0.0.7 50007 checkout main 405123 pool_full a_server pool 20 6 4712 47300000 idle_in_transaction billing 1
         9 web app - unix 0 reports main 80 rate its_rate class 4 0 4711 1500 active checkout 1",
    );
    let holders = table(
        "pid# database user host state held_us# idle_us# id# application_name addr port# class waiting#
         4711 app web main active 1500 0 3 checkout 10.0.0.7 50001 checkout 31
         4712 app web main idle_in_transaction 47300000 47000000 4 billing unix 0 reports 31",
    );
    sample.tables.extend([(Show::Waits, waits), (Show::Holders, holders)]);
    sample
}

/// What PgBouncer 1.18 says, without most of it.
fn bouncer(at: Instant, seconds: u64) -> Sample {
    let stats = format!("app {0} {0} 100 100 {1} {1} 0", 100 + 10 * seconds, 40_000 * seconds);
    let head = "database total_xact_count# total_query_count# total_received# total_sent#
        total_xact_time# total_query_time# total_wait_time#";
    let mut sample = sample(
        at,
        &[
            (Show::Version, "version", "PgBouncer_1.18.0"),
            (
                Show::Pools,
                "database user cl_active# cl_waiting# sv_active# sv_idle# sv_used# sv_tested#
                    sv_login# maxwait# maxwait_us# pool_mode",
                "app web 3 1 2 0 0 0 0 1 200000 transaction",
            ),
            (Show::Databases, DATABASES, "app db 2 0 0"),
            (Show::Stats, head, &stats),
            (
                Show::Clients,
                "type user database state addr port# wait# wait_us# connect_time ptr
                    application_name more_news",
                "C web app active 10.0.0.1 5001 0 0 2023-11-14 0x1 web one
                 C web app waiting 10.0.0.2 5002 1 200000 2023-11-14 0x2 evil\x1b[2J two",
            ),
        ],
    );
    for show in [Show::Classes, Show::Holders, Show::Overload, Show::State, Show::Waits] {
        let said = format!("invalid command '{}', use SHOW HELP;", show.command());
        sample.refused.insert(show, said);
    }
    sample
}

fn look(of: fn(Instant, u64) -> Sample) -> (Look, Instant) {
    let start = read_clock();
    let mut look = Look::new("127.0.0.1:6432".to_owned(), Duration::from_secs(1));
    for second in 0..5 {
        look.take(of(start + Duration::from_secs(second), second));
    }
    (look, start)
}

fn press(look: &mut Look, keys: &str) -> Effect {
    let press = |key| look.press(KeyEvent::new(key, KeyModifiers::NONE));
    let keys = keys.split_whitespace().map(|key| match key {
        "Down" => KeyCode::Down,
        "End" => KeyCode::End,
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Right" => KeyCode::Right,
        "Tab" => KeyCode::Tab,
        letter => KeyCode::Char(letter.chars().next().expect("not empty")),
    });
    keys.map(press).last().unwrap_or(Effect::None)
}

fn picture(look: &mut Look, [width, height]: [u16; 2], has_colours: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("never fails");
    let drawn = terminal.draw(|frame| {
        draw(look, Paint { has_colours }, read_clock(), frame.buffer_mut());
    });
    drawn.expect("never fails").buffer.clone()
}

fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn golden(name: &str, look: &mut Look, size: [u16; 2]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/golden");
    let path = directory.join(format!("{name}.txt"));
    let drawn = text(&picture(look, size, true));
    if std::env::var_os("PGWEIR_BLESS").is_some() {
        fs::create_dir_all(&directory).expect("the directory can be made");
        fs::write(&path, &drawn).expect("the file is writable");
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(drawn, wanted, "{name}: PGWEIR_BLESS=1 cargo test --lib top draws it anew");
}

const SMALL: [u16; 2] = [80, 24];
const WIDE: [u16; 2] = [160, 40];

#[test]
fn screens_look_as_they_should() {
    let (mut ours, _) = look(weir);
    golden("overview", &mut ours, SMALL);
    golden("overview_wide", &mut ours, WIDE);
    press(&mut ours, "2");
    golden("pools", &mut ours, SMALL);
    golden("pools_wide", &mut ours, WIDE);
    press(&mut ours, "3 End Enter");
    golden("classes_detail", &mut ours, SMALL);
    press(&mut ours, "Esc");
    golden("classes", &mut ours, SMALL);
    press(&mut ours, "4");
    golden("waits_by_pool", &mut ours, SMALL);
    press(&mut ours, "5 ?");
    golden("help", &mut ours, SMALL);
    let (mut ours, _) = look(weir_in_full);
    press(&mut ours, "4");
    golden("waits", &mut ours, SMALL);
    golden("waits_wide", &mut ours, WIDE);
    press(&mut ours, "5");
    golden("holders", &mut ours, SMALL);
    let (mut theirs, _) = look(bouncer);
    golden("overview_pgbouncer", &mut theirs, SMALL);
    press(&mut theirs, "4");
    golden("waits_pgbouncer", &mut theirs, SMALL);
    press(&mut theirs, "6");
    golden("clients_pgbouncer", &mut theirs, SMALL);
}

#[test]
fn the_manual_shows_the_overview_as_it_is() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/top.md");
    let manual = fs::read_to_string(manual).expect("the manual is there");
    let (mut ours, _) = look(weir);
    assert!(manual.contains(&text(&picture(&mut ours, SMALL, true))), "copy golden/overview.txt");
}

#[test]
fn any_size_can_be_drawn() {
    for of in [weir_in_full, bouncer] {
        let (mut look, _) = look(of);
        for screen in 1..=Screen::ALL.len() {
            press(&mut look, &screen.to_string());
            for over in [Over::Nothing, Over::Help, Over::Detail, Over::Filter] {
                look.over = over;
                let heights = |width| (0..30).map(move |height| [width, height]);
                for size in (0..180).step_by(13).flat_map(heights) {
                    picture(&mut look, size, true);
                }
            }
            look.over = Over::Nothing;
        }
    }
}

#[test]
fn colour_is_only_where_something_is_the_matter_and_nowhere_without_colours() {
    let (mut look, _) = look(weir);
    let coloured = picture(&mut look, SMALL, true);
    let colour_of = |buffer: &Buffer, line: &str| {
        let lines = text(buffer);
        let y = lines.lines().position(|found| found.contains(line)).expect("is there");
        buffer[(0, u16::try_from(y).expect("is small"))].fg
    };
    assert_eq!(colour_of(&coloured, "app/web: shedding"), Color::Red);
    assert_eq!(colour_of(&coloured, "old/me: paused"), Color::Yellow);
    assert_eq!(colour_of(&coloured, "Transactions"), Color::Reset);
    let plain = picture(&mut look, SMALL, false);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert_eq!(text(&plain), text(&coloured));
}

#[test]
fn a_lost_connection_is_told_and_the_screen_stays() {
    let (mut look, start) = look(weir);
    let before = text(&picture(&mut look, SMALL, true));
    let again_at = start + Duration::from_hours(1);
    look.lost = Some(Lost { why: "the connection was lost".to_owned(), again_at });
    let lost = text(&picture(&mut look, SMALL, true));
    let told = lost.lines().nth(2).expect("a third line");
    assert!(told.contains("the connection was lost") && told.contains("again in"), "{told}");
    let rest = |text: &str| text.lines().skip(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rest(&lost), rest(&before));
    look.take(weir(start + Duration::from_secs(9), 9));
    assert!(look.lost.is_none());
}

#[test]
fn keys_sort_filter_and_walk() {
    let (mut look, start) = look(weir);
    let names = |look: &Look| -> Vec<String> {
        look.order.iter().map(|row| look.listing.rows[*row][0].shown()).collect()
    };
    assert_eq!(names(&look), ["app/web", "old/me", "bi/bi"]);
    press(&mut look, "2");
    assert_eq!(names(&look), ["app/web", "bi/bi", "old/me"]);
    press(&mut look, "r");
    assert_eq!(names(&look), ["old/me", "bi/bi", "app/web"]);
    // The titles that can be sorted by are those that were drawn.
    picture(&mut look, SMALL, true);
    press(&mut look, "Right Right");
    assert_eq!((look.sort().by.as_str(), look.sort().descending), ("servers", false));
    assert_eq!(names(&look), ["old/me", "bi/bi", "app/web"]);
    press(&mut look, "Right");
    assert_eq!((look.sort().by.as_str(), look.sort().descending), ("waiting", true));
    // The cursor stays with its row when others come before it.
    press(&mut look, "Down");
    assert_eq!(names(&look)[look.cursor()], "old/me");
    press(&mut look, "r");
    assert_eq!(names(&look), ["bi/bi", "old/me", "app/web"]);
    assert_eq!(names(&look)[look.cursor()], "old/me");
    assert_eq!(press(&mut look, "/ b q"), Effect::None);
    assert_eq!((look.filter(), names(&look).len()), ("bq", 0));
    press(&mut look, "Esc / b i Enter");
    assert_eq!((names(&look), look.over), (vec!["bi/bi".to_owned()], Over::Nothing));
    // It holds for what comes later, and for this screen alone.
    look.take(weir(start + Duration::from_secs(9), 9));
    assert_eq!(names(&look), ["bi/bi"]);
    press(&mut look, "1");
    assert_eq!(names(&look).len(), 3);
    press(&mut look, "2 Esc");
    assert_eq!(names(&look).len(), 3);
}

#[test]
fn what_is_asked_for_is_what_is_looked_at() {
    let (mut look, _) = look(weir);
    assert_eq!(look.wishes().also, &[] as &[Show]);
    assert_eq!(press(&mut look, "6"), Effect::Ask);
    assert_eq!(look.wishes().also, &Show::CLIENTS);
    assert_eq!(press(&mut look, "Tab"), Effect::Ask);
    assert_eq!((look.screen, look.wishes().interval), (Screen::Overview, Some(look.interval)));
    assert_eq!(press(&mut look, "p"), Effect::Ask);
    assert_eq!(look.wishes().interval, None);
    press(&mut look, "p + +");
    assert_eq!(look.wishes().interval, Some(Duration::from_secs(5)));
    press(&mut look, "- - - - - -");
    assert_eq!(look.wishes().interval, Some(Duration::from_millis(500)));
    let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    assert_eq!(look.press(control('l')), Effect::Repaint);
    assert_eq!(look.press(control('c')), Effect::Quit);
    // So a terminal tells an Esc and a digit that come together.
    press(&mut look, "/ z");
    let escaped = KeyEvent::new(KeyCode::Char('2'), KeyModifiers::ALT);
    assert_eq!((look.press(escaped), look.screen), (Effect::Ask, Screen::Pools));
    press(&mut look, "1");
    assert_eq!((look.filter(), look.over), ("", Over::Nothing));
    // A `q` closes what lies above, and is a letter in a filter.
    assert_eq!(press(&mut look, "? q"), Effect::None);
    assert_eq!(press(&mut look, "/ q"), Effect::None);
    assert_eq!(press(&mut look, "Esc q"), Effect::Quit);
}

#[test]
fn nothing_a_client_says_reaches_the_terminal_as_it_is() {
    let (mut look, _) = look(bouncer);
    press(&mut look, "6");
    for over in [Over::Nothing, Over::Detail] {
        look.over = over;
        let buffer = picture(&mut look, WIDE, true);
        assert!(buffer.content.iter().all(|cell| !cell.symbol().contains(char::is_control)));
    }
    assert!(
        look.listing.rows.iter().flatten().any(|cell| cell.shown().contains("evil\u{fffd}[2J"))
    );
}

#[test]
fn the_row_under_the_cursor_is_reversed() {
    let (mut look, _) = look(weir);
    press(&mut look, "2 Down");
    let buffer = picture(&mut look, SMALL, false);
    let reversed = |y: u16| buffer[(0, y)].modifier.contains(Modifier::REVERSED);
    assert_eq!([reversed(4), reversed(5), reversed(6)], [false, true, false]);
}
