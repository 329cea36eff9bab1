//! Logging in: startup parameters, and what is refused. Requests for encryption and protocol versions
//! that are granted are rows of `torture_table`.

use std::time::Duration;

use crate::harness::frames::{Batch, GSSENC_REQUEST, SSL_REQUEST, startup_message};
use crate::harness::login::{Login, PROTOCOL_3_0};
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{Timing, run};
use crate::harness::wire::{Client, Wire};

/// Bytes that were sent before the answer could have been put there by someone in the middle.
#[test]
fn plain_bytes_behind_a_request_for_encryption_are_refused() {
    run(async {
        let rig = Rig::start_default().await;
        for request in [SSL_REQUEST, GSSENC_REQUEST] {
            let mut wire = Wire::connect(rig.address()).await;
            let mut bytes = startup_message(request, &[]);
            bytes.extend(Login::to(rig.address()).message());
            wire.send(&bytes).await;
            let answer = wire.bytes_until_closed().await;
            let text = String::from_utf8_lossy(&answer);
            assert!(text.contains("C08P01"), "expected a refusal, got {text:?}");
        }
    });
}

/// Version 2 gets its error in the form of version 2, which has no code.
#[test]
fn other_major_protocols_are_refused() {
    run(async {
        let rig = Rig::start_default().await;
        for (version, code) in [(0x0002_0000, ""), (0x0004_0000, "0A000")] {
            let mut wire = Wire::connect(rig.address()).await;
            wire.send(&Login::to(rig.address()).protocol(version).message()).await;
            let text = String::from_utf8_lossy(&wire.bytes_until_closed().await).into_owned();
            assert!(text.contains("FATAL") && text.contains(code), "{version:#x}: {text:?}");
        }
    });
}

#[test]
fn startup_parameters_take_effect_and_stay_their_clients() {
    run(async {
        let rig = Rig::start(Settings::new().pool_size(1)).await;
        let parameters = [
            ("application_name", "payroll"),
            ("client_encoding", "LATIN1"),
            ("datestyle", "German, DMY"),
            ("timezone", "Asia/Tokyo"),
            ("search_path", "pg_catalog"),
        ];
        let mut plain = rig.client().await;
        let mut login = Login::to(rig.address());
        for (name, value) in parameters {
            login = login.with(name, value);
        }
        let mut client =
            login.with("options", "-c work_mem=7MB --statement_timeout=4321").connect().await;
        let others = [("work_mem", "7MB"), ("statement_timeout", "4321ms")];
        for round in 0..2 {
            for (name, value) in parameters.into_iter().chain(others) {
                assert_eq!(client.value(&format!("show {name}")).await, value, "round {round}");
                let own = plain.value(&format!("show {name}")).await;
                assert_ne!(own, value, "{name} leaked in round {round}");
            }
        }
        assert_eq!(client.parameters["application_name"], "payroll");
        assert_eq!(client.parameters["TimeZone"], "Asia/Tokyo");
    });
}

#[test]
fn invalid_parameters_are_refused_with_postgres_own_code() {
    run(async {
        let rig = Rig::start_default().await;
        let cases = [
            ("no_such_setting", "x", "42704"),
            ("datestyle", "nonsense", "22023"),
            ("client_encoding", "nonsense", "22023"),
            ("timezone", "Nowhere/Land", "22023"),
            ("options", "-c no_such_setting=1", "42704"),
            ("options", "-c work_mem=nonsense", "22023"),
        ];
        for (name, value, code) in cases {
            let error = Login::to(rig.address()).with(name, value).error().await;
            assert_eq!(error.shown(), format!("E(FATAL {code})"), "{name}={value}: {error:?}");
        }
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn the_welcome_is_postgres_own() {
    run(async {
        let rig = Rig::start_default().await;
        for (name, value) in [("application_name", "same"), ("timezone", "Europe/Oslo")] {
            let direct = Login::to(&rig.postgres.address()).with(name, value).connect().await;
            // The first login may have had to ask a server; the second is answered from memory.
            for attempt in ["first", "second"] {
                let through = Login::to(rig.address()).with(name, value).connect().await;
                assert_eq!(through.parameters, direct.parameters, "the {attempt} login");
            }
        }
    });
}

#[test]
fn unknown_databases_and_users_are_refused_in_postgres_words() {
    run(async {
        let rig = Rig::start_default().await;
        let error = Login::to(rig.address()).database("nowhere").error().await;
        assert_eq!(error.shown(), "E(FATAL 3D000)");
        let error = Login::to(rig.address()).user("nobody_here", "x").error().await;
        assert_eq!(error.severity(), "FATAL");
        assert!(["28P01", "28000"].contains(&error.code().as_str()), "{error:?}");
        let error = Login::to(rig.address()).with("user", "").error().await;
        assert_eq!(error.shown(), "E(FATAL 28000)");
    });
}

#[test]
fn a_client_can_log_in_over_a_unix_socket() {
    run(async {
        let rig = Rig::start_default().await;
        let mut client = Client::connect(&rig.proxy.unix).await;
        assert_eq!(client.value("select 1").await, "1");
    });
}

#[test]
fn garbage_before_the_login_is_refused_and_disturbs_nobody() {
    run(async {
        let rig = Rig::start_default().await;
        let mut bystander = rig.client().await;
        assert_eq!(bystander.query("begin").await, ["C(BEGIN)", "Z(T)"]);
        let no_terminator = startup_message(PROTOCOL_3_0, b"user\0app\0database");
        let huge = [&u32::MAX.to_be_bytes()[..], &PROTOCOL_3_0.to_be_bytes()].concat();
        let large = [&1_000_000_u32.to_be_bytes()[..], &PROTOCOL_3_0.to_be_bytes()].concat();
        let garbage: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00",
            &[0; 64],
            &[0, 0, 0, 7, 0, 3, 0],
            &[0xff; 300],
            &huge,
            &large,
            &no_terminator,
        ];
        for bytes in garbage {
            let mut wire = Wire::connect(rig.address()).await;
            wire.send(bytes).await;
            let answer = String::from_utf8_lossy(&wire.bytes_until_closed().await).into_owned();
            let refused = answer.is_empty() || answer.contains("FATAL");
            assert!(refused, "{bytes:?} was answered {answer:?}");
        }
        assert_eq!(bystander.query("commit").await, ["C(COMMIT)", "Z(I)"]);
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}

#[test]
fn a_query_in_place_of_a_password_is_refused() {
    run(async {
        let rig = Rig::start(Settings::new().set("auth_type", "scram-sha-256")).await;
        let mut wire = Wire::connect(rig.address()).await;
        wire.send(&Login::to(rig.address()).message()).await;
        assert_eq!(char::from(wire.frame().await.tag), 'R');
        wire.send(&Batch::new().query("select 1").0).await;
        let frames = wire.until_closed().await;
        assert_eq!(crate::harness::frames::shown(&frames), ["E(FATAL 08P01)"]);
    });
}

#[test]
fn logins_that_take_too_long_are_ended() {
    run(async {
        let settings = Settings::new().set("auth_type", "scram-sha-256");
        let limit = Duration::from_millis(700);
        let rig = Rig::start(settings.set("client_login_timeout", limit)).await;
        let login = Login::to(rig.address());
        let timing = Timing::start();
        let mut silent = Wire::connect(rig.address()).await;
        let mut half = Wire::connect(rig.address()).await;
        half.send(&login.message()[..9]).await;
        let mut unauthenticated = Wire::connect(rig.address()).await;
        unauthenticated.send(&login.message()).await;
        let mut slow = Wire::connect(rig.address()).await;
        // One byte at a time: progress does not extend the deadline.
        for byte in startup_message(PROTOCOL_3_0, &[b'x'; 4000]) {
            if slow.try_send(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for wire in [&mut silent, &mut half, &mut unauthenticated, &mut slow] {
            wire.bytes_until_closed().await;
        }
        timing.is_within(limit..10 * limit);
        assert_eq!(rig.client().await.value("select 1").await, "1");
    });
}
