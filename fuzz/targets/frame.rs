//! Any bytes, cut anywhere: the edges of messages are where they would be in one piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::frame::{HEAD_LEN, Head, run_of};

const TOTAL_MAX: u32 = 1 << 16;

fuzz_target!(|input: (u8, u16, Vec<u8>)| {
    let (tag, cut, bytes) = input;
    if let Ok(Some(head)) = Head::parse(&bytes, TOTAL_MAX) {
        assert!(head.total >= HEAD_LEN);
    }
    let Ok(whole) = run_of(tag, &bytes, TOTAL_MAX) else { return };
    assert!(whole.here <= bytes.len());
    assert!(whole.to_come == 0 || whole.here == bytes.len());

    let cut = usize::from(cut) % (bytes.len() + 1);
    let (first, _) = bytes.split_at(cut);
    let part = run_of(tag, first, TOTAL_MAX).expect("what is fine in one piece is fine in two");
    assert!(part.here + part.to_come <= whole.here + whole.to_come);
});
