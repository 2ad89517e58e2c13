//! What the room `store` tells.
