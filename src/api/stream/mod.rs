//! The doors that stay open: live streams over WebSocket.

mod kept;
mod upgrade;

use super::operation::Operation;

/// All of them. OpenAPI has no words for a socket, so the document tells of them in prose.
pub const OPERATIONS: &[Operation] = &[kept::SUBSCRIBE, kept::REALTIME];
