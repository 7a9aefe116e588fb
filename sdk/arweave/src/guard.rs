//! Protection against server-side request forgery (spec 04 §17): which URLs published by strangers may be called.
//!
//! Two layers, because a name says nothing about where it leads: [`UrlPolicy::check`] looks at the URL (scheme, literal
//! addresses), and clients made by [`UrlPolicy::client`] look at the addresses a name resolves to at the moment of
//! connecting. Those clients follow no redirects; whoever wants to follow one checks its target first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::gateway::MAX_REDIRECTS;
use crate::http::CONNECT_TIMEOUT;

/// A URL may not be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Not http or https.
    #[error("scheme {0} is not allowed; http and https are")]
    Scheme(String),
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// The host is, or leads to, an address that is not public.
    #[error("{0} is not a public address")]
    Private(String),
}

/// Which URLs may be called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UrlPolicy {
    /// Also private, loopback and link-local addresses: for local networks.
    pub allow_private: bool,
}

impl UrlPolicy {
    /// Checks scheme and host. Names are checked again, by address, when a [`client`](Self::client) connects.
    pub fn check(&self, url: &Url) -> Result<(), GuardError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(GuardError::Scheme(url.scheme().to_owned()));
        }
        let host = url.host().ok_or(GuardError::NoHost)?;
        let public = match &host {
            Host::Domain(name) => !is_local_name(name),
            Host::Ipv4(address) => is_public(IpAddr::V4(*address)),
            Host::Ipv6(address) => is_public(IpAddr::V6(*address)),
        };
        if public || self.allow_private { Ok(()) } else { Err(GuardError::Private(host.to_string())) }
    }

    /// A client for a URL that the operator configured, wherever it leads. Redirects are followed, at most [`MAX_REDIRECTS`]
    /// of them, to the same host and port and to where this policy allows.
    pub fn trusting_client(&self, url: &Url) -> reqwest::ClientBuilder {
        let (policy, trusted) = (*self, url.clone());
        let redirects = reqwest::redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error("too many redirects");
            }
            let next = attempt.url();
            let same_place = (next.host(), next.port_or_known_default())
                == (trusted.host(), trusted.port_or_known_default())
                && matches!(next.scheme(), "http" | "https");
            match policy.check(next) {
                _ if same_place => attempt.follow(),
                Ok(()) => attempt.follow(),
                Err(error) => attempt.error(error),
            }
        });
        let trusted = url.host_str().map(str::to_owned);
        reqwest::Client::builder()
            .redirect(redirects)
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .dns_resolver(GuardedResolver { policy: *self, trusted })
    }

    /// A client for checked URLs: it connects to allowed addresses only, follows no redirects, and uses no proxy (a
    /// proxy would resolve names out of our sight).
    pub fn client(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .dns_resolver(GuardedResolver { policy: *self, trusted: None })
    }
}

/// Resolves names and drops the addresses the policy forbids, except for one trusted name.
#[derive(Debug, Clone)]
pub(crate) struct GuardedResolver {
    pub policy: UrlPolicy,
    /// A name the operator configured.
    pub trusted: Option<String>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let open = self.policy.allow_private || self.trusted.as_deref() == Some(name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| open || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(GuardError::Private(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.is_empty()
}

/// Whether an address is globally reachable unicast.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b)) // shared by carriers, RFC 6598
        || (a == 192 && b == 0 && c == 0) // protocol assignments, RFC 6890
        || (a == 192 && b == 88 && c == 99) // 6to4 relays, RFC 7526
        || (a == 198 && (b == 18 || b == 19)) // benchmarks, RFC 2544
        || a >= 224) // multicast, reserved, broadcast
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped, and NAT64 with its well-known prefix: what counts is the address inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarks, ORCHID and other protocol assignments
        [0x2001, second, ..] if second < 0x0200 => false,
        // Documentation
        [0x2001, 0x0db8, ..] | [0x3fff, ..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn check(url: &str) -> Result<(), GuardError> {
        UrlPolicy::default().check(&Url::parse(url).expect("a URL"))
    }

    #[test]
    fn public_urls_pass() {
        for url in [
            "https://arweave.net",
            "http://su-router.ao-testnet.xyz:80/path?x=1",
            "http://8.8.8.8",
            "http://[2606:4700::1111]/",
            "http://[::ffff:8.8.8.8]/",
            "http://[64:ff9b::808:808]/",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn urls_that_lead_inside_are_refused_in_every_spelling() {
        for url in [
            "http://127.0.0.1",
            "http://127.1",
            "http://2130706433",
            "http://0x7f000001",
            "http://0177.0.0.1",
            "http://0.0.0.0",
            "http://10.1.2.3",
            "http://172.31.255.255",
            "http://192.168.0.1:8080",
            "http://100.64.0.1",
            "http://169.254.169.254/latest/meta-data",
            "http://198.18.0.1",
            "http://224.0.0.1",
            "http://255.255.255.255",
            "http://localhost",
            "http://LOCALHOST.:4000",
            "http://x.localhost",
            "http://[::1]",
            "http://[::]",
            "http://[::ffff:127.0.0.1]",
            "http://[::ffff:a00:1]",
            "http://[::127.0.0.1]",
            "http://[64:ff9b::7f00:1]",
            "http://[2002:7f00:1::]",
            "http://[2001::1]",
            "http://[2001:db8::1]",
            "http://[fe80::1]",
            "http://[fc00::1]",
            "http://[ff02::1]",
        ] {
            assert!(matches!(check(url), Err(GuardError::Private(_))), "{url}: {:?}", check(url));
        }
    }

    #[test]
    fn only_http_and_https_pass_even_on_local_networks() {
        for url in ["file:///etc/passwd", "ftp://example.com", "gopher://example.com", "data:text/plain,x"] {
            let url = Url::parse(url).expect("a URL");
            assert!(matches!(UrlPolicy { allow_private: true }.check(&url), Err(GuardError::Scheme(_))), "{url}");
        }
        let local = Url::parse("http://127.0.0.1:4000").expect("a URL");
        assert_eq!(UrlPolicy { allow_private: true }.check(&local), Ok(()));
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_not_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        // `check` would refuse this name already; here the resolver is on trial.
        let client = UrlPolicy::default().client().build().expect("a client");
        let error = client.get(format!("http://localhost:{port}/")).send().await.expect_err("refused");
        assert!(error.is_connect(), "{error:?}");
        assert!(format!("{error:?}").contains("Private"), "{error:?}");
    }
}
