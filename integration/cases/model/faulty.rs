//! A server that answers wrongly on purpose: Postgres behind a relay that spoils one thing.

use std::net::Ipv4Addr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::Address;

/// Once this name is closed on a connection, no `Parse` is answered as it should be.
pub(super) const SPOILING_NAME: &str = "b";

pub(super) struct FaultyServer {
    pub(super) address: Address,
    accepting: JoinHandle<()>,
}

impl FaultyServer {
    pub(super) async fn start(postgres: &Address) -> Self {
        let Address::Tcp(postgres) = postgres.clone() else { panic!("it is reached over TCP") };
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port can be bound");
        let address = Address::Tcp(listener.local_addr().expect("a listener has an address"));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(postgres).await.expect("Postgres listens");
                let (client_reads, client_writes) = client.into_split();
                let (server_reads, server_writes) = server.into_split();
                let (spoil, is_spoilt) = watch::channel(false);
                tokio::spawn(forth(client_reads, server_writes, spoil));
                tokio::spawn(back(server_reads, client_writes, is_spoilt));
            }
        });
        Self { address, accepting }
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forth(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, spoil: watch::Sender<bool>) {
    let mut input = BytesMut::new();
    let close = [b"S", SPOILING_NAME.as_bytes(), b"\0"].concat();
    // The first packet has no tag.
    let mut header = 0;
    while from.read_buf(&mut input).await.is_ok_and(|count| count > 0) {
        while let Some(message) = whole_message(&mut input, header) {
            header = 1;
            if message[0] == b'C' && message[5..] == close[..] {
                spoil.send_replace(true);
            }
            if to.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_spoilt: watch::Receiver<bool>) {
    let mut input = BytesMut::new();
    while from.read_buf(&mut input).await.is_ok_and(|count| count > 0) {
        while let Some(mut message) = whole_message(&mut input, 1) {
            if message[0] == b'1' && *is_spoilt.borrow() {
                message[0] = b'3';
            }
            if to.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

/// Takes the message at the front, of which `header` bytes come before its length.
fn whole_message(input: &mut BytesMut, header: usize) -> Option<BytesMut> {
    let length = input.get(header..header + 4)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize + header;
    if input.len() < length {
        return None;
    }
    Some(input.split_to(length))
}
