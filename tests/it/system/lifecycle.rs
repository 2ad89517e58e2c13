//! The binary from start to end: signals, exit codes, sentences on standard error, kill -9.
