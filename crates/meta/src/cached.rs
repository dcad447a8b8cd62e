//! c
/// x
pub struct CachedMeta;
/// x
pub struct CacheSize;
