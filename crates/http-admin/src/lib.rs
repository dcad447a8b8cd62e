//! http-admin
