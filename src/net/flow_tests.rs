//! A flow between made-up peers, against a model that keeps everything.

use super::Flow;
use crate::base::ids::WorkerId;
use crate::net::stream::Link;
use crate::net::worker::Worker;
use proptest::prelude::*;
use std::io;
use std::task::{Context, Poll, Waker};

/// A peer that gives and takes so many bytes, in pieces, and then makes wait.
struct Peer {
    given: usize,
    gives: usize,
    takes: usize,
    piece: usize,
    taken: Vec<u8>,
}

/// The byte at a place of the stream: one that is out of place shows.
fn byte_at(place: usize) -> u8 {
    u8::try_from(place % 251).expect("less than 251")
}

impl Link for Peer {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gives == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = self.gives.min(into.len());
        if count == 0 {
            return Poll::Pending;
        }
        for byte in &mut into[..count] {
            *byte = byte_at(self.given);
            self.given += 1;
        }
        self.gives -= count;
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = self.takes.min(self.piece).min(bytes.len());
        if count == 0 {
            return Poll::Pending;
        }
        self.taken.extend(&bytes[..count]);
        self.takes -= count;
        Poll::Ready(Ok(count))
    }
}

/// What is done with a flow. Counts are cut to what is there.
#[derive(Clone, Debug)]
enum Step {
    CutShort,
    DropUnseen,
    Fill(usize),
    Flush { takes: usize, piece: usize },
    Forward { here: usize, to_come: usize },
    Rewrite { gone: usize, new: usize, here: usize, to_come: usize },
    Shelve,
    SlipIn(u8),
    Swallow(usize),
    SwallowMessage { here: usize, to_come: usize },
}

fn step() -> impl Strategy<Value = Step> {
    // Small counts, and some around the size of a buffer.
    let count = || prop_oneof![3 => 0..40_usize, 1 => 0..70_000_usize];
    prop_oneof![
        8 => count().prop_map(Step::Fill),
        8 => (count(), 1..5_000_usize).prop_map(|(takes, piece)| Step::Flush { takes, piece }),
        8 => (count(), count()).prop_map(|(here, to_come)| Step::Forward { here, to_come }),
        6 => (0..40_usize, 0..80_usize, count(), count())
            .prop_map(|(gone, new, here, to_come)| Step::Rewrite { gone, new, here, to_come }),
        3 => count().prop_map(Step::Swallow),
        3 => (count(), count())
            .prop_map(|(here, to_come)| Step::SwallowMessage { here, to_come }),
        3 => any::<u8>().prop_map(Step::SlipIn),
        2 => Just(Step::Shelve),
        1 => Just(Step::DropUnseen),
        1 => Just(Step::CutShort),
    ]
}

/// The same, kept as simply as can be.
#[derive(Default)]
struct Model {
    unseen: Vec<u8>,
    to_come: usize,
    is_dropping: bool,
    /// All that was to go since the beginning.
    out: Vec<u8>,
}

impl Model {
    fn forward(&mut self, here: usize) {
        self.out.extend(self.unseen.drain(..here));
    }

    fn forward_rest(&mut self) {
        let here = self.to_come.min(self.unseen.len());
        if self.is_dropping {
            self.unseen.drain(..here);
        } else {
            self.forward(here);
        }
        self.to_come -= here;
    }
}

struct Bench {
    worker: Worker,
    flow: Flow,
    peer: Peer,
    model: Model,
}

impl Bench {
    fn new() -> Self {
        let peer = Peer { given: 0, gives: 0, takes: 0, piece: 0, taken: Vec::new() };
        let worker = Worker::new(WorkerId::MAIN);
        Self { worker, flow: Flow::default(), peer, model: Model::default() }
    }

    fn take(&mut self, step: &Step) {
        let Self { worker, flow, peer, model } = self;
        let cx = &mut Context::from_waker(Waker::noop());
        // Whoever looks at messages first lets the rest of the last one go.
        assert_eq!(flow.forward_rest(), model.to_come <= model.unseen.len());
        model.forward_rest();
        match *step {
            Step::Fill(gives) if !flow.is_full() => {
                peer.gives = gives;
                let before = peer.given;
                let filled = flow.poll_fill(peer, worker, cx);
                assert_eq!(filled.is_ready(), gives > 0, "there is room");
                model.unseen.extend((before..peer.given).map(byte_at));
            }
            Step::Flush { takes, piece } => {
                (peer.takes, peer.piece) = (takes, piece);
                let flushed = flow.poll_flush(peer, worker, cx);
                assert_eq!(flushed.is_ready(), peer.taken.len() == model.out.len());
            }
            Step::Forward { here, to_come } if model.to_come == 0 => {
                let here = here.min(model.unseen.len());
                // A message has a rest only if all that is here is of it.
                let to_come = if here == model.unseen.len() { to_come } else { 0 };
                flow.forward(here, to_come);
                model.forward(here);
                (model.to_come, model.is_dropping) = (to_come, false);
            }
            Step::Rewrite { gone, new, here, to_come } if model.to_come == 0 => {
                let gone = gone.min(model.unseen.len());
                let here = here.min(model.unseen.len() - gone);
                let to_come = if gone + here == model.unseen.len() { to_come } else { 0 };
                let bytes = vec![0xee; new];
                flow.rewrite(gone, &bytes, here, to_come);
                model.unseen.drain(..gone);
                model.out.extend(&bytes);
                model.forward(here);
                (model.to_come, model.is_dropping) = (to_come, false);
            }
            Step::Swallow(n) if model.to_come == 0 => {
                let n = n.min(model.unseen.len());
                flow.swallow(n);
                model.unseen.drain(..n);
            }
            Step::SwallowMessage { here, to_come } if model.to_come == 0 => {
                let here = here.min(model.unseen.len());
                let to_come = if here == model.unseen.len() { to_come } else { 0 };
                flow.swallow_message(here, to_come);
                model.unseen.drain(..here);
                (model.to_come, model.is_dropping) = (to_come, true);
            }
            Step::SlipIn(byte) => {
                flow.slip_in(|own| own.extend([byte; 3]));
                model.out.extend([byte; 3]);
            }
            Step::Shelve => flow.shelve(worker),
            Step::DropUnseen => {
                flow.drop_unseen();
                model.unseen.clear();
            }
            Step::CutShort => {
                assert_eq!(flow.cut_short() as usize, std::mem::take(&mut model.to_come));
                model.out.truncate(peer.taken.len());
            }
            Step::Fill(_)
            | Step::Forward { .. }
            | Step::Rewrite { .. }
            | Step::Swallow(_)
            | Step::SwallowMessage { .. } => {}
        }
    }

    fn check(&self) {
        let Self { flow, peer, model, .. } = self;
        assert!(model.out.starts_with(&peer.taken), "what went is not what was to go");
        assert!(flow.unseen() == model.unseen, "what is to be looked at is not what came");
        assert_eq!(flow.is_pending(), peer.taken.len() < model.out.len());
        assert_eq!(flow.is_mid_message(), model.to_come > 0);
        assert_eq!(flow.rest_to_come(), model.to_come);
        let kept = model.unseen.len() + model.out.len() - peer.taken.len();
        assert_eq!((flow.len(), flow.is_empty()), (kept, kept == 0));
    }
}

proptest! {
    /// However it comes and is taken, what goes out is what came in less what was swallowed, with
    /// what was slipped in at its place.
    #[test]
    fn what_comes_in_goes_out_in_order(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new();
        for step in &steps {
            bench.take(step);
            bench.check();
        }
        bench.take(&Step::Flush { takes: usize::MAX, piece: usize::MAX });
        bench.check();
        prop_assert!(!bench.flow.is_pending(), "all of it goes in the end");
    }
}
