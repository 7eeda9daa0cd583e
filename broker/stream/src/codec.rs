//! How messages are written to a stream: by prost, into a buffer that is asked for at once.
//!
//! A bunch of deliveries is some hundreds of kilobytes. In a buffer that grows as it is filled, each byte is copied once or
//! twice more, and that was a twentieth of what a leader does while a backlog is received.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// Writes one kind of messages, and reads another.
#[derive(Debug)]
pub(crate) struct StreamCodec<T, U>(PhantomData<(T, U)>);

/// Writes messages.
#[derive(Debug)]
pub(crate) struct StreamEncoder<T>(PhantomData<T>);

// === impl StreamCodec ===

impl<T, U> Default for StreamCodec<T, U> {
    fn default() -> StreamCodec<T, U> {
        StreamCodec(PhantomData)
    }
}

impl<T, U> Codec for StreamCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = StreamEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> StreamEncoder<T> {
        StreamEncoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::default()
    }
}

// === impl StreamEncoder ===

impl<T: Message> Encoder for StreamEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.reserve(message.encoded_len());
        message
            .encode(into)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
