//! Bytes of what is agreed and kept: entries of the logs, states of the machines, stored messages, frames between
//! peers.
//!
//! Every encoding begins with two bytes: what it is ([`Kind`]) and which version of that. A version that was
//! released is read for ever; `kept/` holds an example of each, and a test reads them. A change of meaning gets a
//! new version beside the old one, never a change of the old one.
//!
//! Decoding is total: any bytes give a value or a [`DecodeError`], no bytes are left over, and no more memory is
//! asked for than the bytes at hand can fill.

mod codec;
mod frame;

pub use codec::{
    DecodeError, Kind, decode, decode_beginning, decode_directory_batch, decode_directory_outcome,
    decode_directory_state, decode_happening, decode_set_batch, decode_set_outcome, decode_set_state,
    decode_shared, decode_state, decode_stored_message, encode, encode_directory_batch,
    encode_directory_outcome, encode_directory_state, encode_happening, encode_set_batch, encode_set_outcome,
    encode_set_state, encode_state, encode_stored_message, encode_stored_message_onto, encoded_len,
};
pub use frame::{
    Frame, FrameError, FrameKind, FrameReader, HEADER_BYTES as FRAME_HEADER_BYTES, frame_header,
};
