//! The floor: a relay that only copies bytes. One thread, one epoll, no framing, no pooling.
//!
//! Each client gets a server connection of its own. Level triggered, one `recv` and one `send` per
//! wake-up of a socket, a 64 KiB buffer: nothing that forwards bytes through user space with epoll
//! does less. It runs as a second process of the bench, so that its CPU time can be read.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::Result;

const BUFFER_BYTES: usize = 64 * 1024;
const EVENTS_PER_WAIT: usize = 256;
/// The listener's event data; sockets are numbered from 0.
const LISTENER: u64 = u64::MAX;

/// One client and its server: side 0 and side 1.
struct Pair {
    streams: [TcpStream; 2],
    /// What was read from the other side and did not fit into this side's socket yet.
    unsent: [Vec<u8>; 2],
}

struct Relay {
    epoll: OwnedFd,
    upstream: u16,
    pairs: Vec<Option<Pair>>,
    /// Free places in `pairs`.
    free: Vec<usize>,
    /// Places freed by the current batch of events, which may still name them.
    just_freed: Vec<usize>,
    buffer: Vec<u8>,
}

/// Relays `port` to `upstream` until it is killed, or the bench is.
pub(crate) fn run(port: u16, upstream: u16) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut relay = Relay {
        epoll,
        upstream,
        pairs: Vec::new(),
        free: Vec::new(),
        just_freed: Vec::new(),
        buffer: vec![0; BUFFER_BYTES],
    };
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_PER_WAIT);
    loop {
        match epoll::wait(&relay.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => relay.accept(&listener)?,
                socket => relay.wake(usize::try_from(socket)?, event.flags),
            }
        }
        relay.free.append(&mut relay.just_freed);
    }
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        let Ok((client, _)) = listener.accept() else { return Ok(()) };
        // Blocks for a loopback handshake; connections are made before anything is measured.
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream))?;
        let place = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        let pair = Pair { streams: [client, server], unsent: [Vec::new(), Vec::new()] };
        for (side, stream) in pair.streams.iter().enumerate() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            epoll::add(&self.epoll, stream, socket_data(place, side), EventFlags::IN)?;
        }
        self.pairs[place] = Some(pair);
        Ok(())
    }

    fn wake(&mut self, socket: usize, flags: EventFlags) {
        let (place, side) = (socket / 2, socket % 2);
        // The pair may have ended earlier in the same batch.
        let Some(pair) = self.pairs[place].as_mut() else { return };
        let outcome = if flags.contains(EventFlags::OUT) {
            flush(&self.epoll, pair, place, side)
        } else {
            forward(&self.epoll, pair, (place, side), &mut self.buffer)
        };
        if outcome.is_err() {
            // Closing the sockets takes them out of the epoll set.
            self.pairs[place] = None;
            self.just_freed.push(place);
        }
    }
}

/// Reads once from `side` and writes to the other; an end of file is an error, and ends the pair.
fn forward(
    epoll: &OwnedFd,
    pair: &mut Pair,
    (place, side): (usize, usize),
    buffer: &mut [u8],
) -> Result<()> {
    let other = 1 - side;
    if !pair.unsent[other].is_empty() {
        // Not awaited, so this can only be a hang-up, and what is unsent has nobody to answer it.
        return Err("hang-up".into());
    }
    let read = match pair.streams[side].read(buffer) {
        Ok(0) => return Err("end of file".into()),
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let written = write(&mut pair.streams[other], &buffer[..read])?;
    if written < read {
        // Stop reading here until the other side has taken what there is.
        pair.unsent[other].extend_from_slice(&buffer[written..read]);
        watch(epoll, pair, place, side, EventFlags::empty())?;
        watch(epoll, pair, place, other, EventFlags::OUT)?;
    }
    Ok(())
}

/// Writes what `side` owes, and goes back to reading once it is all gone.
fn flush(epoll: &OwnedFd, pair: &mut Pair, place: usize, side: usize) -> Result<()> {
    let written = write(&mut pair.streams[side], &pair.unsent[side])?;
    pair.unsent[side].drain(..written);
    if pair.unsent[side].is_empty() {
        let other = 1 - side;
        watch(epoll, pair, place, side, readiness(pair, other))?;
        watch(epoll, pair, place, other, readiness(pair, side))?;
    }
    Ok(())
}

/// What to await on the side opposite to `blocked`: its own writing comes first, and it is not read
/// while `blocked` has not taken what came before.
fn readiness(pair: &Pair, blocked: usize) -> EventFlags {
    if !pair.unsent[1 - blocked].is_empty() {
        EventFlags::OUT
    } else if pair.unsent[blocked].is_empty() {
        EventFlags::IN
    } else {
        EventFlags::empty()
    }
}

fn watch(epoll: &OwnedFd, pair: &Pair, place: usize, side: usize, flags: EventFlags) -> Result<()> {
    Ok(epoll::modify(epoll, &pair.streams[side], socket_data(place, side), flags)?)
}

fn socket_data(place: usize, side: usize) -> EventData {
    EventData::new_u64((place * 2 + side) as u64)
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    match stream.write(bytes) {
        Ok(written) => Ok(written),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}
