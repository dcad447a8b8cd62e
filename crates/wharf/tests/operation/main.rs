//! The server as an operator runs it: started, behind a proxy, with TLS, given a new certificate, asked to end.

mod nginx;
mod start;
mod transfers;
