//! One integration binary: real sockets, real stores, the simulators with faults.

mod api;
mod architecture;
mod contract;
mod decode;
mod exchanges;
mod recordings;
mod simulator;
mod support;
mod system;
mod upstream;
