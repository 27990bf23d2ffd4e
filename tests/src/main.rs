//! The integration tests: the real binary, real sockets, real tools. One module a subject; each test says what a client
//! sent, what the origin saw and what came back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with a sentence that says what was awaited"
)]

mod setting;

mod access_log;
mod adaptive;
mod admin;
mod admin_keys;
mod attacks;
mod attempts;
mod audit;
mod authentication;
mod backend_connections;
mod balancing;
mod bandwidth;
mod broken;
mod cache_apart;
mod cache_memory;
mod cache_musts;
mod cache_orders;
mod cache_overtaken;
mod cache_rules;
mod cache_secrets;
mod cache_warm;
mod caching;
mod callers;
mod certificates;
mod client_authorities;
mod client_certificates;
mod commands;
mod compression;
mod containers;
mod cookie_credentials;
mod cors;
mod credentials;
mod deciders;
mod decompression;
mod discovery;
mod disk_cache;
mod disk_kills;
mod documents;
mod engines;
mod events;
mod failures;
mod forwarding;
mod framing;
mod grpc;
mod headers;
mod health;
mod hedging;
mod heirs;
mod history;
mod hop_by_hop;
mod introspection;
mod large;
mod lifecycle;
mod limit_amounts;
mod limit_months;
mod limit_places;
mod limit_plans;
mod limits;
mod login;
mod many;
mod metrics;
mod mirrors;
mod multiplexing;
mod normalisation;
mod origins;
mod overload;
mod places;
mod problems;
mod proxy_protocol;
mod rate_limits;
mod redis_cache;
mod redis_nodes;
mod reload;
mod retries;
mod rewriting;
mod routing;
mod selftest;
mod shadow;
mod shared_limits;
mod shared_resets;
mod shared_waits;
mod show;
mod slow_clients;
mod soak;
mod splits;
mod sticky;
mod streams;
mod successors;
mod tls;
mod token_plans;
mod tokens;
mod tools;
mod trials;
mod under_load;
mod upgrade;
mod upgrades;
mod uploads;
mod wire;
