//! A next process that is ready when nobody waits for it any more: the process before is played here.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use super::takeover_faults::takeover_socket;
use crate::harness::login::Login;
use crate::harness::proxy::Rig;
use crate::harness::settings::Settings;
use crate::harness::time::{eventually, run, within};
use crate::harness::wire::Wire;

/// What the process before offers: nothing that listens.
fn offer() -> String {
    let zeros = ["0"; 32].join(",");
    let halts = r#"{"is_paused":false,"paused":[],"disabled":[]}"#;
    let rest = format!(r#""stops":{{"halts":{halts},"suspended":null}},"set":[]"#);
    format!(
        r#"{{"Offer":{{"is_activated":false,"next_client":1,"salt_key":[{zeros}],"client_keys":[],{rest}}}}}"#
    )
}

async fn hear(peer: &mut UnixStream) -> String {
    let mut lengths = [0; 8];
    peer.read_exact(&mut lengths).await.expect("it says something");
    let [a, b, c, d, ..] = lengths;
    let mut head = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
    peer.read_exact(&mut head).await.expect("it says all of it");
    String::from_utf8(head).expect("it speaks JSON")
}

/// Sends the offer, with a pipe.
async fn make_offer(peer: &mut UnixStream) {
    let (told, _fate) = io::pipe().expect("there is a pipe");
    let head = offer();
    let mut lengths = u32::try_from(head.len()).expect("short").to_be_bytes().to_vec();
    lengths.extend([0; 4]);
    let sent = peer.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = [told.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        let flags = SendFlags::NOSIGNAL;
        Ok(sendmsg(&*peer, &[IoSlice::new(&lengths)], &mut ancillary, flags)?)
    });
    assert_eq!(sent.await.expect("it listens"), lengths.len());
    peer.write_all(head.as_bytes()).await.expect("it listens");
}

#[test]
fn a_next_process_accepts_nobody_before_it_is_told_to() {
    run(async {
        let mut rig = Rig::start(Settings::new()).await;
        let (old, path) = (rig.proxy.process(), takeover_socket(&rig));
        let pid_file = path.with_file_name("pid");
        std::fs::write(&pid_file, "1\n").expect("it is written");
        let line = format!("[proxy]\npidfile = \"{}\"\n", pid_file.display());
        rig.proxy.rewrite(&rig.proxy.written().replacen("[proxy]\n", &line, 1));
        // It accepts connections first.
        eventually("its socket is there", async || path.exists().then_some(())).await;
        old.signal_family(Signal::KILL);
        eventually("it has gone", async || rig.proxy.ended()).await;
        std::fs::remove_file(&path).expect("it was left behind");
        let listener = UnixListener::bind(&path).expect("it is ours");

        drop(rig.proxy.replace());
        let (mut next, _) = listener.accept().await.expect("it comes");
        assert!(hear(&mut next).await.contains("Hello"));
        make_offer(&mut next).await;
        assert_eq!(hear(&mut next).await, "\"Ready\"");
        // It has opened everything.
        let mut wire = Wire::connect(rig.address()).await;
        wire.send(&Login::to(rig.address()).message()).await;
        let answer = within(Duration::from_millis(500), wire.try_frame()).await;
        assert!(answer.is_none(), "it was answered: {answer:?}");
        drop(next);

        let status = eventually("it has ended", async || rig.proxy.ended()).await;
        assert!(!status.success());
        eventually("it has said why", async || {
            rig.proxy.process().log().contains("did not wait").then_some(())
        })
        .await;
        // What is found by name is the old one's.
        assert_eq!(std::fs::read_to_string(&pid_file).expect("it is there"), "1\n");
        UnixStream::connect(&path).await.expect("it is there");
        within(Duration::from_secs(5), listener.accept()).await.expect("ours").expect("ours");
    });
}
