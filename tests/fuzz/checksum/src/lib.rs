//! Stands in for the checksum while fuzzing: every checksum is zero, so that bytes which a checksum would have
//! refused are read. Whoever damages a file on purpose can compute a checksum too.

/// Returns zero.
pub fn crc32c(_bytes: &[u8]) -> u32 {
    0
}

/// Returns zero.
pub fn crc32c_append(_before: u32, _bytes: &[u8]) -> u32 {
    0
}
