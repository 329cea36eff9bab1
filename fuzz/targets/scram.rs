//! Any bytes in any place of a SCRAM exchange: nobody comes in without the password, and a server
//! that does not know it is not believed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::auth::scram::client::{ClientSecret, ExpectServerFinal, Next, start};
use pgweir::auth::scram::server::ExpectFirst;
use pgweir::auth::scram::{Iterations, NONCE_BYTES, ScramSecret};
use pgweir::base::secret::Secret;
use std::sync::{Arc, LazyLock};

const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

static SECRET: LazyLock<Arc<ScramSecret>> = LazyLock::new(|| {
    let iterations = Iterations::new(1).expect("one is a count");
    Arc::new(ScramSecret::of_password(b"not in the corpus: 0b1cf9", b"salt", iterations))
});

fuzz_target!(|input: (&[u8], &[u8], &[u8], &[u8])| {
    let (client_first, client_final, server_first, server_final) = input;
    for (well_begun, header) in [("", "biws"), ("n,,n=,r=abc", "biws"), ("y,,n=,r=abc,", "eSws")] {
        let first = [well_begun.as_bytes(), client_first].concat();
        let state = || ExpectFirst::new(Arc::clone(&SECRET), NONCE).client_first(&first);
        let Ok((any, reply)) = state() else { continue };
        assert!(any.client_final(client_final).is_err(), "let in without the password");
        // With what only this exchange has.
        let nonce = reply.split(|byte| *byte == b',').next().expect("there is a first attribute");
        let last = [b"c=", header.as_bytes(), b",", nonce, b",", client_final].concat();
        let (forged, _) = state().expect("as the first time");
        assert!(forged.client_final(&last).is_err(), "let in without the password");
    }

    let begin = || start(ClientSecret::password(Secret::new("x".to_owned())), NONCE);
    let (_, first) = begin();
    let nonce = first.strip_prefix(b"n,,n=,").expect("our own message");
    for well_begun in [&b""[..], nonce, &[nonce, b"x,s=c2FsdA==,i=1"].concat()] {
        let message = [well_begun, server_first].concat();
        not_believed(begin().0.server_first(&message), &message, server_final);
    }

    let text = String::from_utf8_lossy(client_first);
    for text in [text.clone(), format!("SCRAM-SHA-256${text}").into()] {
        if let Some(secret) = ScramSecret::parse(&text) {
            assert_eq!(ScramSecret::parse(secret.encode().reveal()), Some(secret));
        }
    }
});

fn not_believed<E>(next: Result<Next, E>, server_first: &[u8], server_final: &[u8]) {
    let expect: ExpectServerFinal = match next {
        Err(_) => return,
        Ok(Next::Send(expect, _)) => expect,
        Ok(Next::Derive(derive)) => {
            // Not one that takes long.
            let mut attributes = server_first.split(|byte| *byte == b',');
            if !attributes.any(|attribute| attribute == b"i=1") {
                return;
            }
            derive.run().0
        }
    };
    assert!(expect.server_final(server_final).is_err(), "believed without a signature");
}
