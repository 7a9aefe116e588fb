//! Where the units listen. All ports are taken before any unit starts, so that each unit knows the others' addresses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use holon_devnet::units::Listeners;
use holon_unit::server;

use crate::failure::Failure;

/// First port unless another is named.
pub const DEFAULT_BASE: u16 = 4000;
/// Ports from the first on that belong to a network.
const SPAN: u16 = 5;

/// The network's listeners.
#[derive(Debug)]
pub struct Ports {
    /// Those of the units.
    pub units: Listeners,
    /// The bundler's own port, where the layout has one.
    pub bundler: Option<TcpListener>,
}

impl Ports {
    /// Takes the ports of the layout of spec 07 §7.1, or free ones when `base` is 0.
    pub fn bind(base: u16) -> Result<Self, Failure> {
        let bind = |offset: u16| {
            let port = if base == 0 { 0 } else { base + offset };
            server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(|error| {
                Failure::network(error)
                    .hint("another program has the port: take other ones with --port <n>, or free ones with --port 0")
            })
        };
        Ok(Self {
            units: Listeners { gateway: bind(0)?, messenger: bind(2)?, scheduler: bind(3)?, compute: bind(4)? },
            bundler: if base == 0 { None } else { Some(bind(1)?) },
        })
    }
}

/// Reads a first port: 0, or one with room for the others above it.
pub fn parse_base(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(base) if base <= u16::MAX - (SPAN - 1) => Ok(base),
        _ => Err(format!("a number from 0 to {} is needed", u16::MAX - (SPAN - 1))),
    }
}
