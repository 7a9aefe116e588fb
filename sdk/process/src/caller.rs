//! Who a message is from, and how that is known.

use crate::{Environment, Message};

/// Who a message is from. What a handler may rely on, in place of the message's `from`, which is only what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Sent by the one who signed it: a wallet, for itself.
    Wallet(&'a str),
    /// Sent by a process, and pushed by an authority of this process, which vouches for it.
    Process {
        /// The sending process.
        id: &'a str,
        /// Who pushed it.
        authority: &'a str,
    },
    /// Nobody: the schedule that this process was created with.
    Schedule,
    /// Somebody who says to speak for `claimed` and is no authority of this process. Handlers see this only if
    /// [`Process::admit`](crate::Process::admit) lets it in.
    Unverified {
        /// Who it says it is from.
        claimed: &'a str,
        /// Who signed it.
        signer: &'a str,
    },
}

impl<'a> Caller<'a> {
    pub(crate) fn of(message: &'a Message<'a>, environment: &Environment) -> Self {
        let (from, owner) = (&*message.from, &*message.owner);
        if message.cron {
            Self::Schedule
        } else if from == owner {
            Self::Wallet(from)
        } else if environment.trusts(message) {
            Self::Process { id: from, authority: owner }
        } else {
            Self::Unverified { claimed: from, signer: owner }
        }
    }

    /// Its address or id; none for a schedule and for who cannot be believed.
    pub fn address(self) -> Option<&'a str> {
        match self {
            Self::Wallet(address) | Self::Process { id: address, .. } => Some(address),
            Self::Schedule | Self::Unverified { .. } => None,
        }
    }

    /// Whether it may be believed.
    pub fn is_verified(self) -> bool {
        !matches!(self, Self::Unverified { .. })
    }
}
