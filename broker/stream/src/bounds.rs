//! What a client of the streaming door may do at once. Who goes beyond has its stream ended.

/// Messages in one publish request.
pub const MESSAGES_MAX: usize = 256;
/// Bytes of bodies in one publish request.
pub const BODIES_BYTES_MAX: usize = 1_048_576;
/// Bytes of one request or reply as it is encoded: bodies, and room for what stands beside them.
pub const REQUEST_BYTES_MAX: usize = BODIES_BYTES_MAX + 65_536;
/// Requests of one stream that are not answered; those beyond are not read before.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 256;
/// Bytes of bodies in a stream's requests that are not answered, after which no more is read.
pub const BYTES_IN_FLIGHT_MAX: usize = 8 * 1_048_576;
/// Messages that a consumer may have asked for and not been handed out.
pub const CREDIT_MAX: u32 = 10_000;
/// Handles in one ack, nack or extend.
pub const HANDLES_MAX: usize = 1_000;
/// Streams of one connection at once.
pub const STREAMS_MAX: u32 = 128;
/// Bytes of one reply as it is encoded: what a consumer has to take in as one piece.
pub const REPLY_BYTES_MAX: usize = 4 * 1_048_576;
