//! Any bytes as a first packet: understood, refused, or waited for, and never decided differently
//! when more bytes follow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::startup;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((first, total))) = startup::parse(bytes) else { return };
    assert!((8..=startup::STARTUP_MAX).contains(&total) && total <= bytes.len());
    let (packet, _) = bytes.split_at(total);
    assert_eq!(startup::parse(packet), Ok(Some((first, total))));
    for cut in 0..total {
        assert_eq!(startup::parse(&bytes[..cut]), Ok(None), "cut at {cut}");
    }
});
