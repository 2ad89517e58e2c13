//! Exchanges on the other side of the wire: their native dialects on loopback, seeded prices, scripted faults.
//!
//! Shares nothing with `exchanges`, so that one mistake cannot hide on both sides.
