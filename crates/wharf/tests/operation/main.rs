//! The server as an operator runs it: behind a proxy, with TLS, given a new certificate, asked to end.

mod nginx;
mod transfers;
