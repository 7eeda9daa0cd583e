//! Digests and message authentication codes.

use ring::{digest, hmac};
use sha1::{Digest, Sha1};

/// What SHA-1 takes in at once, in bytes.
const SHA1_BLOCK_BYTES: usize = 64;

/// Returns the HMAC-SHA1 of a text.
pub fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    hmac_sha1_parts(key, &[text])
}

/// Returns the HMAC-SHA256 of a text.
pub fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    hmac_sha256_parts(key, &[text])
}

/// Returns the HMAC-SHA1 of a text that is given in parts, as if they were joined.
pub fn hmac_sha1_parts(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    // RFC 2104. ring's would do, but most of what a signed batch costs was its SHA-1.
    let mut block = [0; SHA1_BLOCK_BYTES];
    match block.get_mut(..key.len()) {
        Some(start) => start.copy_from_slice(key),
        None => block[..20].copy_from_slice(&Sha1::digest(key)),
    }
    let mut inner = Sha1::new_with_prefix(block.map(|byte| byte ^ 0x36));
    for part in parts {
        inner.update(part);
    }
    let outer = Sha1::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// Returns the HMAC-SHA256 of a text that is given in parts, as if they were joined.
pub fn hmac_sha256_parts(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    exact(context.sign().as_ref())
}

/// Returns the SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    exact(digest.as_ref())
}

/// Returns whether two texts are equal, in a time that depends on their lengths alone.
pub fn verify_equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut difference = 0;
    for (a, b) in left.iter().zip(right) {
        // The compiler must not see that it could stop at the first difference.
        difference = std::hint::black_box(difference | (a ^ b));
    }
    difference == 0
}

fn exact<const BYTES: usize>(bytes: &[u8]) -> [u8; BYTES] {
    bytes
        .try_into()
        .expect("each digest has the size that its algorithm says")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_KEY: &[u8] = b"pPgfLipfEXZ7VcRzhAMIyPaU7UbQyFFx";

    fn signed_text(method: &str) -> String {
        format!(
            "POSTcmq-queue-gz.api.tencentyun.com/v2/index.php?Action=SendMessage\
             &Nonce=2889712707386595659&RequestClient=SDK_Python_1.3\
             &SecretId=AKIDPcYDclDJCn8D0Xypa4f3pKYUCVYLn3zT&SignatureMethod={method}\
             &Timestamp=1534154812&clientRequestId=1231231231&delaySeconds=0&msgBody=msg\
             &queueName=test1"
        )
    }

    #[test]
    fn hmac_sha1_gives_the_signature_that_cmq_published() {
        let mac = hmac_sha1(SECRET_KEY, signed_text("HmacSHA1").as_bytes());
        // C16WEtEXsD5v5tnaUMLAbZewXhI= in base64.
        assert_eq!(hex(&mac), "0b5e9612d117b03e6fe6d9da50c2c06d97b05e12");
    }

    #[test]
    fn hmac_sha256_gives_the_same_text_s_signature() {
        let mac = hmac_sha256(SECRET_KEY, signed_text("HmacSHA256").as_bytes());
        // 7aNNVzszJftqWPLvvnHU3lDznBYFPof7ACkTD3OJUu4= in base64.
        assert_eq!(
            hex(&mac),
            "eda34d573b3325fb6a58f2efbe71d4de50f39c16053e87fb0029130f738952ee"
        );
    }

    #[test]
    fn hmac_gives_the_values_of_rfc_2202_and_4231() {
        let text = b"what do ya want for nothing?";
        assert_eq!(
            hex(&hmac_sha1(b"Jefe", text)),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", text)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn hmac_sha256_gives_the_signature_of_standard_webhooks_own_tests() {
        // MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw in base64, behind `whsec_`.
        let key = [
            0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c,
            0xf6, 0x48, 0xa3, 0x62, 0xda, 0x2d, 0xa4, 0xb0,
        ];
        let prefix = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.";
        let mac = hmac_sha256_parts(&key, &[prefix, br#"{"test": 2432232314}"#]);
        // v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
        assert_eq!(
            hex(&mac),
            "83484cf52b04f8e4cf2531adfed9882ad4b2665137b852442d594d20e2c9d4e1"
        );
    }

    #[test]
    fn parts_are_as_good_as_one_text() {
        let parts: [&[u8]; 4] = [b"what do ya", b"", b" want for", b" nothing?"];
        let text = parts.concat();
        assert_eq!(hmac_sha1_parts(b"k", &parts), hmac_sha1(b"k", &text));
        assert_eq!(hmac_sha256_parts(b"k", &parts), hmac_sha256(b"k", &text));
    }

    #[test]
    fn hmac_sha1_is_that_of_ring_whatever_the_key_and_the_text() {
        let text: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for key_bytes in [0, 1, 20, 63, 64, 65, 200] {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &text[..key_bytes]);
            for text_bytes in [0, 1, 55, 56, 63, 64, 65, 119, 1_000] {
                let (key_text, text) = (&text[..key_bytes], &text[..text_bytes]);
                let expected = hmac::sign(&key, text);
                assert_eq!(&hmac_sha1(key_text, text)[..], expected.as_ref());
            }
        }
    }

    #[test]
    fn sha256_gives_the_value_of_fips_180() {
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn equal_is_every_byte_and_the_length() {
        assert!(verify_equal(b"", b""));
        assert!(verify_equal(b"abc", b"abc"));
        assert!(!verify_equal(b"abc", b"abd"));
        assert!(!verify_equal(b"abc", b"bbc"));
        assert!(!verify_equal(b"abc", b"ab"));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
