//! Whom a host belongs to, as far as its name or address tells: what strangers are counted by.
//!
//! Whoever has a domain has any number of names below it, and whoever has a network any number of addresses in it. So all of
//! them count as one. Which names are sold to different people only long lists say; without one, names below a free domain
//! count together, and so do those below a country's second level that is not among the usual ones.

use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

/// Second levels under which countries sell names.
const SECOND_LEVELS: [&str; 12] = ["ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "or", "org"];
/// Bits of an IPv6 address that are one holder's; commonly given to one site.
const SITE_BITS: u32 = 48;

/// The registered name above a host, or the network that its address is in; the origin of a URL without a host.
pub fn holder(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => registered(name),
        Some(Host::Ipv4(address)) => network(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => network(IpAddr::V6(address)),
        None => url.origin().ascii_serialization(),
    }
}

/// The host itself, whatever port; the origin of a URL without one.
pub fn host(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_canonical().to_string(),
        None => url.origin().ascii_serialization(),
    }
}

fn registered(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<_> = name.split('.').collect();
    let sold_below = |labels: &[&str]| match labels {
        [.., second, country] => country.len() == 2 && SECOND_LEVELS.contains(second),
        _ => false,
    };
    let own = if sold_below(&labels) { 3 } else { 2 };
    labels[labels.len().saturating_sub(own)..].join(".")
}

fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let site = address.to_bits() & (u128::MAX << (u128::BITS - SITE_BITS));
            format!("{}/{SITE_BITS}", Ipv6Addr::from_bits(site))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_one_domain_and_addresses_of_one_network_have_one_holder() {
        for (url, expected) in [
            ("https://su.example.com/x", "example.com"),
            ("http://a.b.c.EXAMPLE.com.:8080", "example.com"),
            ("https://example.com", "example.com"),
            ("https://shop.example.co.uk", "example.co.uk"),
            ("https://a.other.co.uk", "other.co.uk"),
            ("https://co.uk", "co.uk"),
            ("https://a.t.co", "t.co"),
            ("https://a.co.io.example", "io.example"),
            ("http://localhost:1", "localhost"),
            ("http://10.1.2.3.nip.io", "nip.io"),
            ("http://203.0.113.7:1", "203.0.113.0/24"),
            ("http://203.0.113.200", "203.0.113.0/24"),
            ("http://203.0.114.7", "203.0.114.0/24"),
            ("http://[2001:db8:1:2::3]:9", "2001:db8:1::/48"),
            ("http://[2001:db8:1:ffff::]", "2001:db8:1::/48"),
            ("http://[::ffff:203.0.113.9]", "203.0.113.0/24"),
        ] {
            assert_eq!(holder(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
