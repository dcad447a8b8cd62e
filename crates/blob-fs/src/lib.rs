//! blob-fs
