//! The whole service against the simulator: real sockets, real store, a minute in a second.

mod faults;
mod lifecycle;
mod modes;
mod whole;
