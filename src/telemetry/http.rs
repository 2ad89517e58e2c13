//! What the room `http` tells.
