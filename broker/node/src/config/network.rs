//! A network of IP addresses: an address and how many of its leading bits count.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network of IP addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpNetwork {
    address: IpAddr,
    bits: u8,
}

// === impl IpNetwork ===

impl IpNetwork {
    /// The addresses of the machine itself.
    pub const LOOPBACK: [IpNetwork; 2] = [
        IpNetwork {
            address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
            bits: 8,
        },
        IpNetwork {
            address: IpAddr::V6(Ipv6Addr::LOCALHOST),
            bits: 128,
        },
    ];

    /// Returns the network, if the text is one: `ADDRESS/BITS`, or an address alone.
    pub fn parse(text: &str) -> Option<IpNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok()?,
            None => width,
        };
        (bits <= width).then_some(IpNetwork { address, bits })
    }

    /// Returns whether the address is in the network. An IPv4 address in IPv6 clothes is taken as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                leading(u128::from(network.to_bits()), shift) == leading(u128::from(address.to_bits()), shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                leading(network.to_bits(), shift) == leading(address.to_bits(), shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Returns the number without its last `shift` bits; a shift by all of them leaves nothing.
fn leading(number: u128, shift: u32) -> u128 {
    number.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_holds_the_addresses_that_share_its_leading_bits() {
        let network = IpNetwork::parse("10.1.0.0/16").expect("a network");
        assert!(network.contains(address("10.1.255.255")));
        assert!(network.contains(address("::ffff:10.1.2.3")));
        assert!(!network.contains(address("10.2.0.0")));
        assert!(!network.contains(address("::1")));
    }

    #[test]
    fn no_bits_hold_everything_of_a_family_and_all_bits_one_address() {
        let everything = IpNetwork::parse("0.0.0.0/0").expect("a network");
        assert!(everything.contains(address("255.255.255.255")));
        assert!(!everything.contains(address("fe80::1")));
        assert!(
            IpNetwork::parse("::/0")
                .expect("a network")
                .contains(address("fe80::1"))
        );
        let one = IpNetwork::parse("192.0.2.1").expect("a network");
        assert!(one.contains(address("192.0.2.1")));
        assert!(!one.contains(address("192.0.2.2")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "host/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(IpNetwork::parse(text), None, "{text}");
        }
    }
}
