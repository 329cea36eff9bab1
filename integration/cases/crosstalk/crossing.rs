//! A server that does on purpose what the checker must catch. Each client has its own session with
//! Postgres, so that without a fault every answer is right.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::Address;
use crate::harness::frames::{Batch, Frame};
use crate::harness::wire::Client;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    AnothersAnswer,
    DoubledAnswer,
    LostRow,
    None,
}

/// One answer in so many is spoilt.
const FAULT_EVERY: usize = 200;

pub(super) struct CrossingServer {
    pub(super) address: Address,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Memory {
    answers: usize,
    last: Vec<u8>,
}

impl CrossingServer {
    pub(super) async fn start(postgres: &Address, fault: Fault) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port can be bound");
        let address = Address::Tcp(listener.local_addr().expect("a listener has an address"));
        let postgres = postgres.clone();
        let memory = Arc::new(Mutex::new(Memory::default()));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (postgres, memory) = (postgres.clone(), Arc::clone(&memory));
                tokio::spawn(async move { serve(stream, &postgres, fault, &memory).await });
            }
        });
        Self { address, accepting }
    }
}

impl Drop for CrossingServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends with the client, or with Postgres.
async fn serve(mut stream: TcpStream, postgres: &Address, fault: Fault, memory: &Mutex<Memory>) {
    let Some(first) = message(&mut stream, false).await else { return };
    // A cancel is shorter than any login; nobody is cancelled here.
    if first.body.len() < 16 {
        return;
    }
    let mut server = Client::connect(postgres).await;
    let welcome = Batch::new().raw(b'R', &[0; 4]).raw(b'K', &[0; 8]).raw(b'Z', b"I");
    if stream.write_all(&welcome.0).await.is_err() {
        return;
    }
    while let Some(frame) = message(&mut stream, true).await {
        if server.wire.try_send(&Batch::new().raw(frame.tag, &frame.body).0).await.is_err() {
            return;
        }
        if !matches!(frame.tag, b'Q' | b'S') {
            continue;
        }
        let mut answer = Vec::new();
        for part in server.wire.until_ready().await {
            answer.push(Batch::new().raw(part.tag, &part.body).0);
        }
        let bytes = spoil(answer, fault, &mut memory.lock().expect("no other task panics"));
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn spoil(mut answer: Vec<Vec<u8>>, fault: Fault, memory: &mut Memory) -> Vec<u8> {
    memory.answers += 1;
    let honest = answer.concat();
    let before = std::mem::replace(&mut memory.last, honest.clone());
    if !memory.answers.is_multiple_of(FAULT_EVERY) {
        return honest;
    }
    match fault {
        Fault::None => honest,
        Fault::AnothersAnswer => before,
        Fault::DoubledAnswer => [honest.clone(), honest].concat(),
        Fault::LostRow => {
            answer.retain(|part| part[0] != b'D');
            answer.concat()
        }
    }
}

/// One message from a client, with a tag or, at first, without.
async fn message(stream: &mut TcpStream, tagged: bool) -> Option<Frame> {
    let tag = if tagged { stream.read_u8().await.ok()? } else { 0 };
    let length = stream.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Frame { tag, body })
}
