//! memory
/// placeholder
pub struct MemoryBlobs;
