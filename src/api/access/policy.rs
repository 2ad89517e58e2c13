//! Who may call each operation, and its rate-limit cost.

/// Access requirement and rate-limit cost of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    pub access: Access,
    /// Units of the client's rate limit. Operations with cost 0 are not counted.
    pub cost: u32,
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone. No key is checked.
    Public,
    /// Everyone, or clients with a key with the scope `read` if `auth.required` is true.
    Read,
    /// Everyone, or clients with a key with the scope `stream` if `auth.required` is true.
    Stream,
    /// Clients with a key with the scope `stream`.
    Ticket,
    /// Clients with a key with the scope `admin`; everyone on this machine if `auth.open_on_loopback` is true.
    Admin,
}

/// The access policy of every operation: operation id, access, rate-limit cost.
pub const ACCESS_POLICIES: [(&str, Access, u32); 27] = [
    ("livez", Access::Public, 0),
    ("readyz", Access::Public, 0),
    ("health", Access::Read, 1),
    ("metrics", Access::Read, 1),
    ("openapiJson", Access::Public, 1),
    ("openapiYaml", Access::Public, 1),
    ("asyncapiJson", Access::Public, 1),
    ("docs", Access::Public, 1),
    ("getTicker", Access::Read, 1),
    ("getTickers", Access::Read, 2),
    ("keptTicker", Access::Read, 1),
    ("keptMarketTicker", Access::Read, 1),
    ("getHistory", Access::Read, 2),
    ("keptHistory", Access::Read, 2),
    ("keptMarketHistory", Access::Read, 2),
    ("listExchanges", Access::Read, 1),
    ("getExchange", Access::Read, 1),
    ("listInstruments", Access::Read, 2),
    ("getCoverage", Access::Read, 2),
    ("beginBackfill", Access::Admin, 10),
    ("listBackfills", Access::Read, 2),
    ("getBackfill", Access::Read, 1),
    ("makeTicket", Access::Ticket, 1),
    ("stream", Access::Stream, 5),
    ("events", Access::Stream, 5),
    ("wsSubscribe", Access::Stream, 5),
    ("wsRealtime", Access::Stream, 5),
];

impl AccessPolicy {
    /// Returns the policy of an operation.
    ///
    /// # Panics
    /// If the operation is not in [`ACCESS_POLICIES`]. A test checks that every operation is.
    pub fn for_operation(operation: &str) -> Self {
        let found = ACCESS_POLICIES.iter().find(|(name, ..)| *name == operation);
        let Some(&(_, access, cost)) = found else { unreachable!("`{operation}` has no access policy") };
        Self { access, cost }
    }
}
