//! Messages with open files between two processes of one machine.
//!
//! A message is eight bytes of lengths, a head in JSON and a body of bytes; open files travel with the
//! lengths. The kernel hands the receiver descriptors of its own.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Files with one message, at most.
pub const FILES_MAX: usize = 64;

/// The longest head and the longest body. A peer that claims more is not one of ours.
const BYTES_MAX: usize = 4 << 20;

/// One end of a connection over which files are passed.
pub struct Passage {
    socket: UnixStream,
    /// A message is on its way, or was given up halfway: what follows would be read as its rest.
    is_sending: Cell<bool>,
}

/// What has come.
#[derive(Debug)]
pub struct Passed<T> {
    pub head: T,
    pub body: Vec<u8>,
    pub files: Vec<OwnedFd>,
}

impl Passage {
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, is_sending: Cell::new(false) }
    }

    /// The user that the process at the other end runs as.
    ///
    /// # Errors
    ///
    /// When the kernel does not know.
    pub fn peer_uid(&self) -> io::Result<u32> {
        self.socket.peer_cred().map(|peer| peer.uid())
    }

    /// Nothing more can come: whatever the peer sends from now on fails there. What was sent before is
    /// received as ever.
    ///
    /// # Errors
    ///
    /// When the peer has closed.
    pub fn stop_receiving(&self) -> io::Result<()> {
        Ok(shutdown(&self.socket, Shutdown::Read)?)
    }

    /// Sends one message. Only one may be on its way, and once one was given up halfway no other goes.
    ///
    /// # Errors
    ///
    /// When the peer is gone, or there is too much, or a message before was not sent to its end.
    pub async fn send(
        &self,
        head: &impl Serialize,
        body: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let head = serde_json::to_vec(head)?;
        let mut lengths = [0; 8];
        lengths[..4].copy_from_slice(&length(&head)?);
        lengths[4..].copy_from_slice(&length(body)?);
        if files.len() > FILES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.is_sending.replace(true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut sent = self.send_some(&lengths, files).await?;
        let bytes = [&lengths[..], &head, body].concat();
        while sent < bytes.len() {
            sent += self.send_some(&bytes[sent..], &[]).await?;
        }
        self.is_sending.set(false);
        Ok(())
    }

    async fn send_some(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.socket
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !files.is_empty() {
                    ancillary.push(SendAncillaryMessage::ScmRights(files));
                }
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut ancillary, flags)?)
            })
            .await
    }

    /// Waits for the next message. `None`: the peer has closed.
    ///
    /// # Errors
    ///
    /// When the connection breaks in the middle, or what comes is not a message.
    pub async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<Passed<T>>> {
        let (mut lengths, mut files) = ([0; 8], Vec::new());
        let mut come = self.receive_some(&mut lengths, Some(&mut files)).await?;
        if come == 0 {
            return Ok(None);
        }
        while come < lengths.len() {
            come += self.receive_more(&mut lengths[come..]).await?;
        }
        let [head, body] = [&lengths[..4], &lengths[4..]].map(|bytes| {
            bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte))
        });
        if head > BYTES_MAX || body > BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; head + body];
        let mut come = 0;
        while come < bytes.len() {
            come += self.receive_more(&mut bytes[come..]).await?;
        }
        let body = bytes.split_off(head);
        Ok(Some(Passed { head: serde_json::from_slice(&bytes)?, body, files }))
    }

    async fn receive_more(&self, into: &mut [u8]) -> io::Result<usize> {
        match self.receive_some(into, None).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            come => Ok(come),
        }
    }

    async fn receive_some(
        &self,
        into: &mut [u8],
        mut files: Option<&mut Vec<OwnedFd>>,
    ) -> io::Result<usize> {
        self.socket
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
                let mut parts = [IoSliceMut::new(into)];
                let come = recvmsg(&self.socket, &mut parts, &mut ancillary, flags)?.bytes;
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(come) = message
                        && let Some(files) = &mut files
                    {
                        files.extend(come);
                    }
                }
                Ok(come)
            })
            .await
    }
}

fn length(bytes: &[u8]) -> io::Result<[u8; 4]> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= BYTES_MAX);
    length.map(u32::to_be_bytes).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::{Passage, Passed};
    use crate::net::worker::within;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::time::Duration;
    use tokio::net::UnixStream;

    fn pair() -> [Passage; 2] {
        let (here, there) = UnixStream::pair().unwrap();
        [here, there].map(Passage::new)
    }

    #[tokio::test]
    async fn what_is_passed_arrives_and_its_files_are_open() {
        let [here, there] = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let body: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
        let sending = async {
            here.send(&("a", 1), &[], &[writer.as_fd()]).await.unwrap();
            here.send(&("b", 2), &body, &[]).await.unwrap();
            drop((here, writer));
        };
        let receiving = async {
            let Passed { head, files, .. } =
                there.receive::<(String, u8)>().await.unwrap().unwrap();
            assert_eq!(head, ("a".to_owned(), 1));
            let [file] = files.try_into().unwrap();
            std::fs::File::from(file).write_all(b"hello").unwrap();
            let second = there.receive::<(String, u8)>().await.unwrap().unwrap();
            assert_eq!((second.head.1, second.body.len(), second.files.len()), (2, 300_000, 0));
            assert!(there.receive::<(String, u8)>().await.unwrap().is_none());
        };
        tokio::join!(sending, receiving);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello", "and both ends of the pipe's other side are closed");
    }

    /// What would follow half a message would be read as its rest.
    #[tokio::test]
    async fn nothing_follows_a_message_that_was_given_up() {
        let [here, there] = pair();
        // More than a socket holds, and nobody reads.
        let large = vec![7; 2 << 20];
        let limit = Some(Duration::from_millis(20));
        assert!(within(limit, here.send(&1, &large, &[])).await.is_err());
        let next = within(Some(Duration::from_secs(5)), here.send(&2, &[], &[])).await;
        let next = next.expect("it is known at once").unwrap_err();
        assert_eq!(next.kind(), std::io::ErrorKind::BrokenPipe);
        drop(here);
        assert!(there.receive::<u8>().await.is_err(), "it is torn");
    }

    #[tokio::test]
    async fn who_stops_receiving_gets_all_that_could_be_sent() {
        let [here, there] = pair();
        here.send(&1, &[], &[]).await.unwrap();
        there.stop_receiving().unwrap();
        here.send(&2, &[], &[]).await.unwrap_err();
        assert_eq!(there.receive::<u8>().await.unwrap().unwrap().head, 1);
        assert!(there.receive::<u8>().await.unwrap().is_none());
        // The other direction is open.
        there.send(&3, &[], &[]).await.unwrap();
        assert_eq!(here.receive::<u8>().await.unwrap().unwrap().head, 3);
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        for garbage in [&[0xff; 8][..], b"\0\0\0\x01\0\0\0\0{", b"\0\0"] {
            let (here, there) = UnixStream::pair().unwrap();
            here.try_write(garbage).unwrap();
            drop(here);
            assert!(Passage::new(there).receive::<u8>().await.is_err(), "{garbage:?}");
        }
    }
}
