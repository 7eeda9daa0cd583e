//! Frames come through in pieces of any size, and damage is seen.

use bytes::Bytes;
use posthouse_wire::*;
use proptest::prelude::*;

const PAYLOAD_BYTES_MAX: u32 = 300;

fn frame() -> impl Strategy<Value = Frame> {
    (any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(kind, payload)| Frame {
        kind: FrameKind(kind),
        payload: Bytes::from(payload),
    })
}

fn reader(bytes: &[u8]) -> FrameReader {
    let mut reader = FrameReader::new(PAYLOAD_BYTES_MAX);
    reader.buffer().extend_from_slice(bytes);
    reader
}

fn small() -> Frame {
    Frame {
        kind: FrameKind(7),
        payload: Bytes::from_static(b"payload"),
    }
}

#[test]
fn a_frame_s_bytes_are_as_written_down() {
    let expected = b"\x07\0\0\0\x07\x01\xff\xbc\xe4\xefpayload";
    assert_eq!(&small().encode()[..], &expected[..]);
}

#[test]
fn a_payload_in_pieces_makes_the_same_header() {
    let whole = &small().encode()[..FRAME_HEADER_BYTES];
    assert_eq!(frame_header(FrameKind(7), &[b"pay", b"", b"load"]), whole);
}

#[test]
fn a_frame_over_the_limit_is_refused_before_its_bytes_come() {
    let payload = vec![0; 301];
    let header = frame_header(FrameKind(1), &[&payload]);
    let refused = Err(FrameError::TooLong {
        bytes: 301,
        limit: PAYLOAD_BYTES_MAX,
    });
    assert_eq!(reader(&header).next_frame(), refused);
}

#[test]
fn how_much_of_a_frame_is_missing_is_known_once_its_length_came() {
    let bytes = small().encode();
    for there in 0..=bytes.len() {
        let missing = if there < 4 { 0 } else { bytes.len() - there };
        assert_eq!(reader(&bytes[..there]).missing(), missing, "{there} bytes came");
    }
    let too_long = frame_header(FrameKind(1), &[&[0; 301]]);
    assert_eq!(reader(&too_long).missing(), 0, "it will be refused");
}

#[test]
fn an_unknown_framing_is_refused() {
    let mut bytes = small().encode().to_vec();
    bytes[5] = 2;
    assert_eq!(reader(&bytes).next_frame(), Err(FrameError::UnknownVersion(2)));
}

proptest! {
    #[test]
    fn frames_come_through_in_pieces_of_any_size(
        frames in prop::collection::vec(frame(), 0..6),
        pieces in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        let mut reader = FrameReader::new(PAYLOAD_BYTES_MAX);
        let mut received = Vec::new();
        let mut rest = &bytes[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            reader.buffer().extend_from_slice(now);
            rest = later;
            while let Some(frame) = reader.next_frame().expect("nothing was damaged") {
                received.push(frame);
            }
        }
        prop_assert_eq!(received, frames);
        prop_assert!(reader.buffer().is_empty());
    }

    #[test]
    fn any_flipped_bit_is_seen(frame in frame(), at in any::<prop::sample::Index>()) {
        let mut bytes = frame.encode().to_vec();
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A length that grew waits for bytes that do not come; everything else is an error.
        match reader(&bytes).next_frame() {
            Ok(None) => prop_assert!(bit < 32),
            Ok(Some(_)) => prop_assert!(false, "damage went unseen"),
            Err(_) => {}
        }
    }

    #[test]
    fn arbitrary_bytes_are_frames_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut reader = reader(&bytes);
        while let Ok(Some(frame)) = reader.next_frame() {
            prop_assert!(frame.payload.len() <= bytes.len());
        }
    }
}
