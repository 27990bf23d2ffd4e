//! The integration tests: the real binary, real sockets, real tools.
