//! The doors that stay open: WebSockets.

mod kept;
mod upgrade;

use super::operation::Operation;

/// All of them. OpenAPI has no words for a socket, so the document tells of them in prose.
pub const OPERATIONS: &[Operation] = &[kept::SUBSCRIBE, kept::REALTIME];
