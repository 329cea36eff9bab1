//! Any bytes as the body of an `ErrorResponse`: read as well as they can be, and what was read can be
//! written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::frame::{HEAD_LEN, Head};
use pgweir::wire::{encode, error_fields};

fuzz_target!(|body: &[u8]| {
    let fields = error_fields::parse(body);
    let mut out = Vec::new();
    encode::error(&mut out, &fields);
    let head = Head::parse(&out, u32::MAX).expect("its length is right").expect("it is whole");
    assert_eq!(head.total, out.len());
    assert_eq!(error_fields::parse(&out[HEAD_LEN..]), fields);
});
