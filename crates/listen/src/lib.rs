//! Sockets, accept loops, TLS termination and connection limits.
