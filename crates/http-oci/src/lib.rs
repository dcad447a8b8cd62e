//! http-oci
