//! Where random bytes come from: an input, so that tests and the simulation can choose them.

use ring::rand::{SecureRandom, SystemRandom};

/// A source of random bytes that nobody can guess.
pub trait Entropy: Send + Sync {
    /// Fills all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's source.
#[derive(Debug)]
pub struct SystemEntropy {
    source: SystemRandom,
}

// === impl SystemEntropy ===

impl SystemEntropy {
    /// Returns the operating system's source.
    pub fn new() -> SystemEntropy {
        SystemEntropy {
            source: SystemRandom::new(),
        }
    }
}

impl Default for SystemEntropy {
    fn default() -> SystemEntropy {
        SystemEntropy::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.source
            .fill(bytes)
            .expect("without random bytes from the operating system no key is safe");
    }
}
