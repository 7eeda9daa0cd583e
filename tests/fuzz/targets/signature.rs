//! Signatures of requests: of any bytes, and of a request that was signed and then changed.
//!
//! The input's first byte says which. A request to sign is a host, and then names and values, each ended by a zero.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posthouse_gateway::cmq::{API_PATH, Config, Digest, Hmac, RawCall, Signer, parse};
use posthouse_model::Time;

/// The most parameters that a client signs here, well below what a request may have.
const PARAMETERS_MAX: usize = 32;
/// What the protocol itself puts into a request, and what says which SDK made it.
const OWN_NAMES: [&str; 7] = [
    "Action",
    "SecretId",
    "Timestamp",
    "Nonce",
    "SignatureMethod",
    "RequestClient",
    "Signature",
];
const NOW: Time = Time::from_seconds(1_700_000_000);

/// Not an HMAC: what counts here is which text is signed, and with which key. Texts that differ in length or in one
/// byte, and keys that differ, give other sums.
struct Sums;

impl Hmac for Sums {
    fn sha1(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        sums(key, parts)
    }

    fn sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        sums(key, parts)
    }

    fn equal(&self, a: &[u8], b: &[u8]) -> bool {
        a == b
    }
}

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((0, rest)) => of_a_stranger(rest),
        Some((way, rest)) => of_a_client(*way, rest),
        None => {}
    }
});

/// Nobody who lacks the key is believed, whatever they say.
fn of_a_stranger(form: &[u8]) {
    let Ok(call) = parse(raw("127.0.0.1:7070", form)) else {
        return;
    };
    let config = Config {
        hosts: vec!["broker.example".to_owned()],
        ..Config::default()
    };
    assert!(
        call.verify(b"a key that nobody has", &Sums, NOW, &config)
            .is_err()
    );
}

/// What a client signed is believed as it was sent, and in no other form.
fn of_a_client(way: u8, rest: &[u8]) {
    let mut texts = rest.split(|byte| *byte == 0).map(std::str::from_utf8);
    let Some(Ok(host)) = texts.next() else {
        return;
    };
    let mut parameters: Vec<(&str, &[u8])> = Vec::new();
    while let (Some(Ok(name)), Some(Ok(value))) = (texts.next(), texts.next()) {
        if parameters.len() < PARAMETERS_MAX && !OWN_NAMES.contains(&name) {
            parameters.push((name, value.as_bytes()));
        }
    }
    let digest = if way & 1 == 0 {
        Digest::Sha1
    } else {
        Digest::Sha256
    };
    let signer = Signer {
        secret_id: "AKIDdev",
        secret: b"dev",
        digest,
        method: "POST",
        host,
        path: API_PATH,
    };
    let form = signer.form(&Sums, "SendMessage", &parameters, NOW, 1);
    let Ok(call) = parse(raw(host, &form)) else {
        assert!(host.len() > 256, "a form that was signed can be parsed");
        return;
    };
    let config = Config::default();
    assert!(
        call.verify(b"dev", &Sums, NOW, &config).is_ok(),
        "a signed request is believed"
    );
    assert!(
        call.verify(b"deV", &Sums, NOW, &config).is_err(),
        "another key is not"
    );
    let late = Time::from_millis(NOW.millis() + config.skew.millis() + 1_000);
    assert!(
        call.verify(b"dev", &Sums, late, &config).is_err(),
        "an old request is not"
    );

    // Values that begin with `@` may be left out of what is signed, so that a request without them can be the same.
    if parameters.iter().any(|(_, value)| value.starts_with(b"@")) {
        return;
    }
    let more = [&form[..], b"&added=1"].concat();
    if let Ok(call) = parse(raw(host, &more)) {
        assert!(
            call.verify(b"dev", &Sums, NOW, &config).is_err(),
            "a parameter was added"
        );
    }
}

fn raw<'a>(host: &'a str, body: &'a [u8]) -> RawCall<'a> {
    RawCall {
        method: "POST",
        host: Some(host),
        path: API_PATH,
        query: b"",
        body,
    }
}

/// Sums of FNV's kind, one for each eight bytes. A step with a given byte is one to one, so sums of equal texts stay
/// apart once the keys have driven them apart.
fn sums<const BYTES: usize>(key: &[u8], parts: &[&[u8]]) -> [u8; BYTES] {
    let mut sums = [0; BYTES];
    for (place, chunk) in (0_u64..).zip(sums.chunks_mut(8)) {
        let mut sum = 0xcbf2_9ce4_8422_2325_u64 ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in key.iter().chain(parts.iter().copied().flatten()) {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        chunk.copy_from_slice(&sum.to_le_bytes()[..chunk.len()]);
    }
    sums
}
