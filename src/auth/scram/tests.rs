//! Both ends against each other, against an independent client, and against published exchanges.

use super::client::{ClientSecret, DerivedKeys, LoginError, Next};
use super::keys::{AuthMessage, Key};
use super::server::{ExpectFirst, ExpectProof, Fault, ScramError, Verified};
use super::{
    ClientKeys, Iterations, MESSAGE_BYTES_MAX, Malformed, Mock, NONCE_BYTES, ScramSecret, client,
};
use crate::base::secret::Secret;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

const CLIENT_NONCE: [u8; NONCE_BYTES] = [1; NONCE_BYTES];
const SERVER_NONCE: [u8; NONCE_BYTES] = [2; NONCE_BYTES];
const PROOF: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn iterations(count: u32) -> Iterations {
    Iterations::new(count).expect("a count within the limits")
}

fn secret(password: &str) -> Arc<ScramSecret> {
    Arc::new(ScramSecret::of_password(password.as_bytes(), b"a salt", iterations(8)))
}

fn password(text: &str) -> ClientSecret {
    ClientSecret::password(Secret::new(text.to_owned()))
}

/// How an exchange failed, and at which end.
#[derive(Debug, Eq, PartialEq)]
enum Failure {
    Client(LoginError),
    Server(ScramError),
}

/// Runs an exchange; `change` may alter each message on its way, the first being number 0.
fn exchange(
    secret: &Arc<ScramSecret>,
    login: &ClientSecret,
    mut change: impl FnMut(usize, &mut Vec<u8>),
) -> Result<Verified, Failure> {
    let (client, mut message) = client::start(login.clone(), CLIENT_NONCE);
    change(0, &mut message);
    let server = ExpectFirst::new(Arc::clone(secret), SERVER_NONCE);
    let (server, mut message) = server.client_first(&message).map_err(Failure::Server)?;
    change(1, &mut message);
    let (client, mut message) = match client.server_first(&message).map_err(Failure::Client)? {
        Next::Derive(work) => work.run(),
        Next::Send(client, message) => (client, message),
    };
    change(2, &mut message);
    let verified = server.client_final(&message).map_err(Failure::Server)?;
    let mut message = verified.server_final.clone();
    change(3, &mut message);
    client.server_final(&message).map_err(Failure::Client)?;
    Ok(verified)
}

fn login(secret: &Arc<ScramSecret>, with: &ClientSecret) -> Result<Verified, Failure> {
    exchange(secret, with, |_, _| ())
}

#[test]
fn the_exchange_of_rfc_7677_is_reproduced() {
    let secret = ScramSecret::parse(
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
    );
    let secret = Arc::new(secret.expect("a secret"));
    let server = ExpectFirst::with_nonce(Arc::clone(&secret), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    let (server, server_first) = server.client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
    assert_eq!(
        String::from_utf8(server_first.clone()).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let verified = server
        .client_final(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
    assert_eq!(verified.server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

    // The client's half of the same, made of the password.
    let keys = ClientKeys::of_password(b"pencil", secret.salt(), secret.iterations());
    assert_eq!(verified.client_key, *keys.client_key());
    let signed = AuthMessage {
        client_first_bare: b"n=user,r=rOprNGfwEbeRWgbNEkqO",
        server_first: &server_first,
        client_final_without_proof: b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    };
    let proof = Some(*keys.client_key.proof(signed));
    assert_eq!(
        proof,
        super::attributes::decode_key(b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    );
}

#[test]
fn the_second_login_derives_nothing() {
    let ann = password("pencil");
    let secret = secret("pencil");
    let derives = |login: &ClientSecret| {
        let (client, first) = client::start(login.clone(), CLIENT_NONCE);
        let server = ExpectFirst::new(Arc::clone(&secret), SERVER_NONCE);
        let (_, server_first) = server.client_first(&first).unwrap();
        matches!(client.server_first(&server_first), Ok(Next::Derive(_)))
    };
    assert!(derives(&ann));
    assert!(login(&secret, &ann).is_ok());
    assert!(!derives(&ann));
    assert!(login(&secret, &ann).is_ok());
}

#[test]
fn derived_keys_are_kept_for_a_bounded_number_of_servers() {
    let derived = DerivedKeys::new(Secret::new("pencil".to_owned()));
    for salt in 0..20_u8 {
        let keys = derived.derive(&[salt], iterations(1));
        assert!(Arc::ptr_eq(&keys, &derived.derive(&[salt], iterations(1))));
        assert!(derived.lookup(&[salt], iterations(2)).is_none());
    }
    let kept = (0..20_u8).filter(|salt| derived.lookup(&[*salt], iterations(1)).is_some());
    assert_eq!(kept.collect::<Vec<_>>(), (12..20).collect::<Vec<_>>());
}

#[test]
fn slow_work_can_go_to_another_thread() {
    fn movable<T: Send + 'static>() {}
    movable::<client::Derive>();
    movable::<ExpectProof>();
}

#[test]
fn what_a_proof_reveals_logs_in_with_the_same_secret_only() {
    let secret = secret("pencil");
    let verified = login(&secret, &password("pencil")).unwrap();
    let keys = Arc::new(secret.client_keys(&verified.client_key).unwrap());
    assert!(login(&secret, &ClientSecret::Keys(Arc::clone(&keys))).is_ok());

    let elsewhere = Arc::new(ScramSecret::of_password(b"pencil", b"other salt", iterations(8)));
    assert_eq!(
        login(&elsewhere, &ClientSecret::Keys(keys)).unwrap_err(),
        Failure::Client(LoginError::SecretMismatch)
    );
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_alike() {
    let mock = Mock::new([9; 32], iterations(8));
    let unknown = Arc::new(mock.secret("ghost"));
    let expected = Failure::Server(ScramError::WrongProof);
    assert_eq!(login(&secret("pencil"), &password("pen")).unwrap_err(), expected);
    assert_eq!(login(&unknown, &password("pen")).unwrap_err(), expected);
    assert_eq!(ScramError::WrongProof.fault(), Fault::Password);
}

#[test]
fn no_proof_fits_a_mock() {
    let mut mock = Mock::new([9; 32], iterations(8)).secret("ghost");
    // Even the keys of a password: as if somebody had found some that fit.
    let keys = ClientKeys::of_password(b"pencil", mock.salt(), mock.iterations());
    mock.stored_key = keys.client_key().stored_key();
    mock.server_key = keys.server_key.clone();
    assert!(mock.check_password(b"pencil").is_none());
    assert!(mock.client_keys(keys.client_key()).is_none());
    let failure = login(&Arc::new(mock), &password("pencil")).unwrap_err();
    assert_eq!(failure, Failure::Server(ScramError::WrongProof));
}

#[test]
fn first_messages_are_accepted_and_refused_as_by_postgres() {
    let first = |message: &[u8]| {
        let server = ExpectFirst::new(secret("pencil"), SERVER_NONCE);
        server.client_first(message).map(|_| ())
    };
    for accepted in [
        "n,,n=,r=abc",
        "y,,n=,r=abc",
        "n,,n=some=2Cname,r=a=b!~",
        "n,,n=,r=abc,x=extension,y=",
        "n,,n=caf\u{e9},r=abc",
    ] {
        assert_eq!(first(accepted.as_bytes()), Ok(()), "{accepted}");
    }
    let long = format!("n,,n=,r={}", "x".repeat(MESSAGE_BYTES_MAX));
    for (refused, error) in [
        ("p=tls-server-end-point,,n=,r=abc", ScramError::ChannelBindingNotOffered),
        ("n,a=root,n=,r=abc", ScramError::AuthorizationIdentity),
        ("n,,m=x,n=,r=abc", ScramError::MandatoryExtension),
        ("n,,n=,r=", Malformed::Nonce.into()),
        ("n,,n=,r=a b", Malformed::Nonce.into()),
        ("n,,n=,r=\u{e9}", Malformed::Nonce.into()),
        ("n,,n=,r=abc,", Malformed::AttributeMissing.into()),
        ("n,,n=", Malformed::AttributeMissing.into()),
        ("n,,r=abc,n=", Malformed::AttributeMissing.into()),
        ("n,,", Malformed::AttributeMissing.into()),
        ("n,n=,r=abc", Malformed::Gs2Header.into()),
        ("x,,n=,r=abc", Malformed::Gs2Header.into()),
        ("", Malformed::Gs2Header.into()),
        ("n,,n=\0,r=abc", Malformed::ZeroByte.into()),
        (&long, Malformed::TooLong.into()),
    ] {
        assert_eq!(first(refused.as_bytes()), Err(error), "{refused}");
        assert_ne!(error.fault(), Fault::Password, "{refused}");
    }
}

#[test]
fn final_messages_are_accepted_and_refused_as_by_postgres() {
    let last = |message: &str, gs2_header: &str| {
        let server = ExpectFirst::with_nonce(secret("pencil"), "def");
        let (server, _) = server.client_first(format!("{gs2_header}n=,r=abc").as_bytes()).unwrap();
        server.client_final(message.replace("PROOF", PROOF).as_bytes()).unwrap_err()
    };
    for (message, error) in [
        // Nothing wrong but the proof.
        ("c=biws,r=abcdef,p=PROOF", ScramError::WrongProof),
        ("c=biws,r=abcdef,x=y,z=,p=PROOF", ScramError::WrongProof),
        // `y,,` after `n,,`, a binding after none, no base64.
        ("c=eSws,r=abcdef,p=PROOF", ScramError::ChannelBindingMismatch),
        ("c=biwsAAAA,r=abcdef,p=PROOF", ScramError::ChannelBindingMismatch),
        ("c=,r=abcdef,p=PROOF", ScramError::ChannelBindingMismatch),
        ("c=biws,r=abc,p=PROOF", ScramError::NonceMismatch),
        ("c=biws,r=abcdefg,p=PROOF", ScramError::NonceMismatch),
        ("c=biws,r=,p=PROOF", ScramError::NonceMismatch),
        ("c=biws,r=abcdef,m=x,p=PROOF", ScramError::MandatoryExtension),
        ("c=biws,r=abcdef", Malformed::AttributeMissing.into()),
        ("c=biws,p=PROOF", Malformed::AttributeMissing.into()),
        ("r=abcdef,c=biws,p=PROOF", Malformed::AttributeMissing.into()),
        ("c=biws,r=abcdef,p=PROOF,x=y", Malformed::GoesOn.into()),
        ("c=biws,r=abcdef,p=PROOF,", Malformed::GoesOn.into()),
        ("c=biws,r=abcdef,p=", Malformed::Proof.into()),
        ("c=biws,r=abcdef,p=AAAA", Malformed::Proof.into()),
        ("c=biws,r=abcdef,p=PROOFPROOF", Malformed::Proof.into()),
        ("", Malformed::AttributeMissing.into()),
        ("c=biws,r=abcdef,p=PROOF\0", Malformed::ZeroByte.into()),
    ] {
        assert_eq!(last(message, "n,,"), error, "{message}");
    }
    assert_eq!(last("c=eSws,r=abcdef,p=PROOF", "y,,"), ScramError::WrongProof);
    assert_eq!(last("c=biws,r=abcdef,p=PROOF", "y,,"), ScramError::ChannelBindingMismatch);
}

#[test]
fn a_server_that_misbehaves_is_refused() {
    let nonce = "AQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    let first = |message: &str| {
        let (client, ours) = client::start(password("pencil"), CLIENT_NONCE);
        assert_eq!(ours, b"n,,n=,r=AQEBAQEBAQEBAQEBAQEBAQEB");
        let nonce = &nonce[..24];
        client.server_first(message.replace("NONCE", nonce).as_bytes()).map(|_| ())
    };
    assert_eq!(first("r=NONCEx,s=QUJD,i=1"), Ok(()));
    assert_eq!(first("r=NONCEx,s=QUJD,i=1,x=y"), Ok(()));
    for (message, error) in [
        ("r=NONCE,s=QUJD,i=1", LoginError::NonceMismatch),
        ("r=xNONCE,s=QUJD,i=1", LoginError::NonceMismatch),
        ("m=x,r=NONCEx,s=QUJD,i=1", LoginError::MandatoryExtension),
        ("r=NONCEx,s=QUJD", Malformed::AttributeMissing.into()),
        ("r=NONCEx,s=QUJ,i=1", Malformed::Salt.into()),
        ("r=NONCEx,s=,i=1", Malformed::Salt.into()),
        ("r=NONCEx,s=QUJD,i=0", Malformed::Iterations.into()),
        ("r=NONCEx,s=QUJD,i=10000001", Malformed::Iterations.into()),
    ] {
        assert_eq!(first(message), Err(error), "{message}");
    }
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let last = |with: &[u8]| {
        let change = |number: usize, message: &mut Vec<u8>| {
            if number == 3 {
                *message = with.to_vec();
            }
        };
        exchange(&secret("pencil"), &password("pencil"), change).map(|_| ()).unwrap_err()
    };
    let wrong = format!("v={PROOF}");
    for (message, error) in [
        (wrong.as_bytes(), LoginError::SignatureWrong),
        (b"v=AAAA", Malformed::Signature.into()),
        (b"e=other-error", LoginError::Refused("other-error".to_owned())),
        (b"e=\x1b[2J", LoginError::Refused("\\x1b[2J".to_owned())),
        (b"", Malformed::AttributeMissing.into()),
        (b"x=y", Malformed::AttributeMissing.into()),
        (format!("{wrong},x=y").as_bytes(), Malformed::GoesOn.into()),
    ] {
        assert_eq!(last(message), Failure::Client(error));
    }
}

#[test]
fn any_flipped_bit_is_noticed() {
    let (secret, ann) = (secret("pencil"), password("pencil"));
    let mut bits = [0; 4];
    let measured = exchange(&secret, &ann, |number, message| bits[number] = message.len() * 8);
    assert!(measured.is_ok());
    for (number, bit) in (0..4).flat_map(|number| (0..bits[number]).map(move |bit| (number, bit))) {
        let flip = |current: usize, message: &mut Vec<u8>| {
            if current == number {
                message[bit / 8] ^= 1 << (bit % 8);
            }
        };
        assert!(exchange(&secret, &ann, flip).is_err(), "bit {bit} of message {number}");
    }
}

#[test]
fn states_print_no_secret() {
    let needle = "77, 77, 77";
    let mut secret = (*secret("hunter2")).clone();
    secret.stored_key = Key::new([77; 32]);
    secret.server_key = Key::new([77; 32]);
    let server = ExpectFirst::new(Arc::new(secret), SERVER_NONCE);
    let (client, message) = client::start(password("hunter2"), CLIENT_NONCE);
    let mut printed = vec![format!("{server:?} {client:?}")];
    let (server, message) = server.client_first(&message).unwrap();
    let next = client.server_first(&message).unwrap();
    printed.push(format!("{server:?} {next:?}"));
    let Next::Derive(work) = next else { panic!("nothing was derived yet") };
    let (client, _) = work.run();
    printed.push(format!("{client:?}"));
    let printed = printed.concat();
    assert!(!printed.contains("hunter2") && !printed.contains(needle), "{printed}");
}

/// The independent client's exchange with our server.
fn independent_login(secret: &Arc<ScramSecret>, password: &[u8], binding: ChannelBinding) -> bool {
    let mut client = ScramSha256::new(password, binding);
    let server = ExpectFirst::new(Arc::clone(secret), SERVER_NONCE);
    let (server, message) = server.client_first(client.message()).expect("a right first message");
    client.update(&message).expect("a right answer");
    match server.client_final(client.message()) {
        Ok(verified) => client.finish(&verified.server_final).is_ok(),
        Err(error) => {
            assert_eq!(error, ScramError::WrongProof);
            false
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_right_password_logs_in(
        text in "\\PC{1,20}|[\u{a0}\u{ad}\u{aa}\u{2168}\u{627}a-c]{1,8}",
        salt in vec(any::<u8>(), 1..40),
        count in 1_u32..40,
    ) {
        let secret = ScramSecret::of_password(text.as_bytes(), &salt, iterations(count));
        let secret = Arc::new(secret);
        let verified = login(&secret, &password(&text)).unwrap();
        prop_assert!(secret.client_keys(&verified.client_key).is_some());
        // Where SASLprep leaves nothing, Postgres and libpq use the raw bytes; this client does not.
        prop_assume!(stringprep::saslprep(&text).map_or(true, |prepared| !prepared.is_empty()));
        prop_assert!(independent_login(&secret, text.as_bytes(), ChannelBinding::unsupported()));
        prop_assert!(independent_login(&secret, text.as_bytes(), ChannelBinding::unrequested()));
    }

    #[test]
    fn another_password_does_not(text in "[a-z]{1,8}", other in "[a-z]{1,8}") {
        prop_assume!(text != other);
        let secret = secret(&text);
        prop_assert_eq!(
            login(&secret, &password(&other)).unwrap_err(),
            Failure::Server(ScramError::WrongProof)
        );
        prop_assert!(!independent_login(&secret, other.as_bytes(), ChannelBinding::unsupported()));
    }

    #[test]
    fn a_password_that_is_no_text_logs_in(bytes in vec(1_u8.., 1..20)) {
        let secret = Arc::new(ScramSecret::of_password(&bytes, b"a salt", iterations(8)));
        prop_assert!(independent_login(&secret, &bytes, ChannelBinding::unsupported()));
        prop_assert!(secret.check_password(&bytes).is_some());
    }

    #[test]
    fn any_changed_byte_is_noticed(number in 0_usize..4, at: prop::sample::Index, mask in 1_u8..) {
        let change = |current: usize, message: &mut Vec<u8>| {
            if current == number {
                let at = at.index(message.len());
                message[at] ^= mask;
            }
        };
        prop_assert!(exchange(&secret("pencil"), &password("pencil"), change).is_err());
    }

    #[test]
    fn any_cut_is_noticed(number in 0_usize..4, at: prop::sample::Index) {
        let change = |current: usize, message: &mut Vec<u8>| {
            if current == number {
                message.truncate(at.index(message.len()));
            }
        };
        prop_assert!(exchange(&secret("pencil"), &password("pencil"), change).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused(
        number in 0_usize..4,
        bytes in prop_oneof![vec(any::<u8>(), 0..1200), vec(prop::sample::select(b"nyp=,rcvesim1a\0".to_vec()), 0..40)],
    ) {
        let change = |current: usize, message: &mut Vec<u8>| {
            if current == number {
                message.clone_from(&bytes);
            }
        };
        prop_assert!(exchange(&secret("pencil"), &password("pencil"), change).is_err());
    }
}
