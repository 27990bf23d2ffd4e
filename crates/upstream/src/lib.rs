//! Pools and backends: addresses, discovery by DNS, connections, peer options.
