//! Bytes that nobody may see: zeroed when dropped, left out of debug prints.

use zeroize::Zeroize;

/// Bytes that nobody may see.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

// === impl Secret ===

impl Secret {
    /// Returns the bytes. Whoever asks answers for where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(mut bytes: Vec<u8>) -> Secret {
        if bytes.len() == bytes.capacity() {
            return Secret(bytes.into_boxed_slice());
        }
        // Giving memory back would leave a copy behind.
        let exact = Box::from(bytes.as_slice());
        bytes.zeroize();
        Secret(exact)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Compares in a time that does not tell where two secrets differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        crate::verify_equal(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_do_not_show_a_secret() {
        let secret = Secret::from(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(7 bytes)");
    }

    #[test]
    fn a_secret_keeps_its_bytes_whatever_the_capacity_they_came_with() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"abc");
        assert_eq!(Secret::from(bytes).expose(), b"abc");
        assert_ne!(Secret::from(b"abc".to_vec()), Secret::from(b"abd".to_vec()));
    }
}
