//! What the room `collect` tells.
