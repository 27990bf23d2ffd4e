//! Every request to the right table: reverse proxy, load balancer and API gateway.

fn main() {}
