//! The client of a request, and how it is identified.

use std::net::IpAddr;
use std::sync::Arc;

use poem::Request;

use crate::market::ClientId;
use crate::model::ApiKey;

/// The client of a request. Handlers find it in the request's extensions.
#[derive(Clone)]
pub struct Client {
    pub identity: Identity,
    pub key: Option<Arc<ApiKey>>,
}

/// Identifies a client for rate limits and connection limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// An IPv4 address, or an IPv6 /64 network, which is what one customer usually has.
    Address(IpAddr),
    /// The id of a key.
    Key(String),
}

impl Identity {
    /// The name of the client in the limits that replicas share.
    pub fn shared_name(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Key(id) => format!("key:{id}"),
        }
    }
}

impl Client {
    /// The client to charge for requests that it causes to the exchanges.
    pub fn id(&self) -> ClientId {
        ClientId::new(&self.identity.shared_name())
    }

    /// Returns the client of an authorized request.
    ///
    /// # Panics
    /// If the request was not authorized. Every operation runs behind the authorizer.
    pub fn from_request(request: &Request) -> &Self {
        let Some(client) = request.extensions().get() else { unreachable!("an authorized request has a client") };
        client
    }
}
