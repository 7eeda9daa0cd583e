//! Messages come through as they are written down, and bytes that say nothing are errors.

use posthouse_wire::FrameReader;
use proptest::prelude::*;

use super::*;

fn greeting() -> impl Strategy<Value = Greeting> {
    let replica = || prop::option::of(any::<u64>().prop_map(ReplicaId));
    let cluster = prop::option::of(any::<[u8; 16]>());
    (0..Channel::ALL.len(), cluster, replica(), any::<u16>(), replica()).prop_map(
        |(channel, cluster, replica, node, expects)| Greeting {
            channel: Channel::ALL[channel],
            hello: Hello {
                cluster,
                replica,
                node,
            },
            expects,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let call = || any::<u64>().prop_map(CallId);
    let bytes = || prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
    let group = (0..=256_u16).prop_map(|number| group_named(number).expect("it is in bounds"));
    prop_oneof![
        greeting().prop_map(Message::Hello),
        ".{0,100}".prop_map(Message::Refused),
        (call(), group, bytes()).prop_map(|(call, group, frame)| Message::Group { call, group, frame }),
        (call(), bytes()).prop_map(|(call, request)| Message::Request { call, request }),
        (call(), bytes()).prop_map(|(call, answer)| Message::Answer { call, answer }),
        (call(), ".{0,100}").prop_map(|(call, reason)| Message::Fault { call, reason }),
        call().prop_map(|call| Message::Cancel { call }),
    ]
}

fn frame(message: Message) -> Frame {
    let mut reader = FrameReader::new(u32::MAX);
    for piece in message.encode() {
        reader.buffer().extend_from_slice(&piece);
    }
    let frame = reader.next_frame().expect("nothing was damaged");
    assert!(reader.buffer().is_empty());
    frame.expect("it is whole")
}

fn payload(message: Message) -> Vec<u8> {
    frame(message).payload.to_vec()
}

fn error(kind: FrameKind, payload: &[u8]) -> Option<MessageError> {
    let payload = Bytes::copy_from_slice(payload);
    Message::decode(Frame { kind, payload }).err()
}

proptest! {
    #[test]
    fn a_message_comes_through(message in message()) {
        prop_assert!(Message::decode(frame(message.clone())) == Ok(message));
    }

    #[test]
    fn arbitrary_bytes_are_a_message_or_an_error(
        kind in any::<u8>(),
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        greets in any::<bool>(),
    ) {
        let mut payload = Vec::new();
        if greets {
            payload.extend_from_slice(b"posthorn\x01\0\x08\x01");
        }
        payload.extend(bytes);
        let _ = Message::decode(Frame { kind: FrameKind(kind), payload: Bytes::from(payload) });
    }
}

#[test]
fn messages_are_as_written_down() {
    let call = CallId(0x0102);
    let frame = Bytes::from_static(b"frame");
    let greeting = Greeting {
        channel: Channel::Heartbeat,
        hello: Hello {
            cluster: Some(*b"0123456789abcdef"),
            replica: Some(ReplicaId(7)),
            node: 3,
        },
        expects: None,
    };
    let kept: [(Message, &[u8]); 7] = [
        (
            Message::Hello(greeting),
            b"posthorn\x01\0\x08\x01\x01\x010123456789abcdef\x01\x07\x03\0",
        ),
        (Message::Refused("no".to_owned()), b"no"),
        (
            Message::Group {
                call,
                group: GroupName::Set(SetId(4)),
                frame: frame.clone(),
            },
            b"\x02\x01\0\0\0\0\0\0\x05\0frame",
        ),
        (
            Message::Request {
                call,
                request: frame.clone(),
            },
            b"\x02\x01\0\0\0\0\0\0frame",
        ),
        (
            Message::Answer {
                call,
                answer: frame.clone(),
            },
            b"\x02\x01\0\0\0\0\0\0frame",
        ),
        (
            Message::Fault {
                call,
                reason: "no".to_owned(),
            },
            b"\x02\x01\0\0\0\0\0\0no",
        ),
        (Message::Cancel { call }, b"\x02\x01\0\0\0\0\0\0"),
    ];
    for (number, (message, bytes)) in kept.into_iter().enumerate() {
        let frame = super::tests::frame(message);
        assert_eq!(usize::from(frame.kind.0), number + 1);
        assert_eq!(frame.payload, bytes, "kind {}", number + 1);
    }
}

#[test]
fn a_greeting_of_a_stranger_or_of_another_version_is_told_apart() {
    let known = payload(Message::Hello(Greeting {
        channel: Channel::Log,
        hello: Hello::default(),
        expects: None,
    }));
    assert_eq!(error(HELLO, &known), None);
    assert_eq!(
        error(HELLO, b"GET / HTTP/1.1\r\n"),
        Some(MessageError::NoGreeting)
    );
    assert_eq!(error(HELLO, b"posthorn\x01"), Some(MessageError::NoGreeting));
    let mut later = known.clone();
    later[8..10].copy_from_slice(&0x0203_u16.to_le_bytes());
    assert_eq!(error(HELLO, &later), Some(MessageError::OtherVersion(0x0203)));
    assert!(matches!(
        error(HELLO, &known[..12]),
        Some(MessageError::Greeting(_))
    ));
}

#[test]
fn what_says_nothing_is_an_error() {
    assert_eq!(error(FrameKind(0), b""), Some(MessageError::UnknownKind(0)));
    assert_eq!(error(FrameKind(8), b""), Some(MessageError::UnknownKind(8)));
    assert_eq!(
        error(ANSWER, b"short"),
        Some(MessageError::TooShort { kind: 5, bytes: 5 })
    );
    assert_eq!(
        error(GROUP, b"\0\0\0\0\0\0\0\0\x01"),
        Some(MessageError::TooShort { kind: 3, bytes: 1 })
    );
    assert_eq!(
        error(GROUP, b"\0\0\0\0\0\0\0\0\x01\x01"),
        Some(MessageError::NoSuchGroup(257))
    );
}

#[test]
fn a_long_reason_is_cut_between_its_letters() {
    let long = "x".to_owned() + &"ä".repeat(REASON_BYTES_MAX);
    let sent = payload(Message::Refused(long));
    assert_eq!(sent.len(), REASON_BYTES_MAX - 1);
    assert!(std::str::from_utf8(&sent).is_ok());
    let Ok(Message::Refused(kept)) = Message::decode(Frame {
        kind: REFUSED,
        payload: Bytes::from(vec![b'x'; 2 * REASON_BYTES_MAX]),
    }) else {
        panic!("a refusal is any text");
    };
    assert_eq!(kept.len(), REASON_BYTES_MAX);
}
