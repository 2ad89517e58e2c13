//! What the room `upstream` tells.
