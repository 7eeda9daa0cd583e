//! HMAC written out, for tests of a crate that must not name a crypto library.

use super::Hmac;

/// HMAC as RFC 2104 says it.
pub(crate) struct PlainHmac;

impl Hmac for PlainHmac {
    fn sha1(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
        let digest = hmac(key, parts, sha1);
        digest.try_into().expect("20 bytes")
    }

    fn sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let digest = hmac(key, parts, sha256);
        digest.try_into().expect("32 bytes")
    }

    fn equal(&self, a: &[u8], b: &[u8]) -> bool {
        a == b
    }
}

fn hmac(key: &[u8], parts: &[&[u8]], hash: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut block = if key.len() > 64 { hash(key) } else { key.to_vec() };
    block.resize(64, 0);
    let mut inner: Vec<u8> = block.iter().map(|byte| byte ^ 0x36).collect();
    inner.extend(parts.concat());
    let mut outer: Vec<u8> = block.iter().map(|byte| byte ^ 0x5c).collect();
    outer.extend(hash(&inner));
    hash(&outer)
}

fn sha1(text: &[u8]) -> Vec<u8> {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded(text).chunks(64) {
        let mut w = words(block, 80);
        for i in 16..80 {
            w[i] = (w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in w.iter().enumerate() {
            let (f, k) = match i {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(f)
                .wrapping_add(e)
                .wrapping_add(k)
                .wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn sha256(text: &[u8]) -> Vec<u8> {
    let primes: Vec<u32> = (2..312).filter(|n| (2..*n).all(|d| n % d != 0)).collect();
    let k: Vec<u32> = primes
        .iter()
        .take(64)
        .map(|p| fraction(f64::from(*p).cbrt()))
        .collect();
    let mut state: Vec<u32> = primes
        .iter()
        .take(8)
        .map(|p| fraction(f64::from(*p).sqrt()))
        .collect();
    for block in padded(text).chunks(64) {
        let mut w = words(block, 64);
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
        }
        let mut v = state.clone();
        for i in 0..64 {
            let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
            let first = v[7]
                .wrapping_add(s1)
                .wrapping_add(choice)
                .wrapping_add(k[i])
                .wrapping_add(w[i]);
            let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(first);
            v[0] = first.wrapping_add(s0).wrapping_add(majority);
        }
        for (sum, value) in state.iter_mut().zip(v) {
            *sum = sum.wrapping_add(value);
        }
    }
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// The first 32 bits of what stands behind the point.
fn fraction(number: f64) -> u32 {
    (number.fract() * 4_294_967_296.0) as u32
}

fn padded(text: &[u8]) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((text.len() as u64 * 8).to_be_bytes());
    padded
}

fn words(block: &[u8], count: usize) -> Vec<u32> {
    let mut words: Vec<u32> = block
        .chunks(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    words.resize(count, 0);
    words
}
