//! What is encoded comes back, today's and kept; what is not encoded is refused.

mod any_value;
mod examples;
mod frames;
mod kept;
mod refused;
mod round_trip;
