//! What statements cost, however many clients have them.

use super::{Interner, Limits, Message, Now, Prepared, Route, Statements, Told};
use crate::session::ledger::{Ledger, Origin, Request, Status};
use crate::session::settings::Settings;
use std::sync::Arc;
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "where a test's clock starts does not matter")]
fn epoch() -> Instant {
    Instant::now()
}

/// The server answers all that it was asked.
fn answer(client: &mut Statements, prepared: &mut Prepared, ledger: &mut Ledger) {
    while let Some(request) = ledger.next_request() {
        let tag = match request {
            Request::CloseNamed | Request::ParseAcknowledged => b'3',
            Request::Describe => b'n',
            _ => b'1',
        };
        let reply = ledger.replied(tag).unwrap();
        let told = client.settled(reply.settled.unwrap(), reply.origin, prepared);
        assert_eq!(told, Told::Nothing);
    }
    ledger.sent(Request::Sync, Origin::Client);
    client.sync_sent();
    ledger.ready(Status::Idle).unwrap();
}

#[test]
fn a_thousand_statements_cost_little() {
    let interner = Interner::new(64 << 20);
    let texts: Vec<Vec<u8>> =
        (0..1_000).map(|number| format!("select {number}\0\0\0").into_bytes()).collect();
    let (mut prepared, mut ledger) = (Prepared::default(), Ledger::default());
    let settings = Settings::default();
    let limits = Limits { of_server: 200, of_client: 1_000 };
    let (at, pool) = (epoch(), ("app", "app"));
    let now = Now { at, pool, settings: &settings, epoch: 0, limits, maps: true };
    let mut all = vec![];
    for _ in 0..2 {
        let mut client = Statements::new(&interner);
        for (number, text) in texts.iter().enumerate() {
            let name = format!("statement_{number}");
            let message = Message::Parse(name.as_bytes(), Some(text));
            client.look(message, &mut prepared, &mut ledger, &now, &mut vec![]);
            answer(&mut client, &mut prepared, &mut ledger);
        }
        all.push((client, interner.bytes()));
    }
    assert_eq!(all[0].1, all[1].1, "they share the texts");
    let one = &all[0].0.names;
    let table =
        (one.capacity() * 8 / 7).next_power_of_two() * (size_of::<(Box<[u8]>, super::Held)>() + 1);
    let names: usize = one.keys().map(|name| name.len().next_multiple_of(16) + 8).sum();
    assert!(table + names <= 100_000, "{table} + {names}");
    let next = Message::Parse(b"one more", Some(b"x\0\0\0"));
    let route = all[0].0.look(next, &mut prepared, &mut ledger, &now, &mut vec![]);
    assert_eq!(route, Route::Refuse);
}

/// 5,000 clients with the same 100 statements: the texts are there once, and so is what belongs to them.
#[test]
fn however_many_clients_share_their_texts() {
    let interner = Interner::new(1 << 20);
    let bodies: Vec<Vec<u8>> = (0..100)
        .map(|number| format!("select {number}, {}\0\0\0", "x".repeat(400)).into_bytes())
        .collect();
    let (settings, limits) = (Settings::default(), Limits { of_server: 100, of_client: 1_000 });
    let (at, pool) = (epoch(), ("app", "app"));
    let now = Now { at, pool, settings: &settings, epoch: 0, limits, maps: true };
    let mut servers: Vec<(Prepared, Ledger)> = (0..20).map(|_| Default::default()).collect();
    let (mut clients, mut after_one) = (vec![], 0);
    for number in 0..5_000 {
        let mut client = Statements::new(&interner);
        let (prepared, ledger) = &mut servers[number % 20];
        for (name, body) in bodies.iter().enumerate() {
            let name = format!("s{name}");
            let message = Message::Parse(name.as_bytes(), Some(body));
            let route = client.look(message, prepared, ledger, &now, &mut vec![]);
            assert!(matches!(route, Route::Acknowledge | Route::Described(_)), "{route:?}");
            assert_eq!(route == Route::Acknowledge, number >= 20, "each server reads it once");
            answer(&mut client, prepared, ledger);
        }
        client.lease_ended();
        clients.push(client);
        if number == 0 {
            after_one = interner.bytes();
        }
    }
    assert_eq!(interner.bytes(), after_one);
    assert_eq!(interner.len(), 100);
    assert!(after_one < 100 * 1_000, "{after_one}");
    let firsts = clients.iter().map(|client| client.statement(b"s0").unwrap());
    assert!(firsts.clone().all(|first| Arc::ptr_eq(first, clients[0].statement(b"s0").unwrap())));
    drop(clients);
    drop(servers);
    assert_eq!((interner.bytes(), interner.len()), (0, 0));
}
