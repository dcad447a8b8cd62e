//! The contract, and what is true of a disk only: restarts, foreign files, many folders.

use super::*;

blob::contract_tests!({
    let folder = tempfile::tempdir().unwrap();
    let store = FsBlobs::open(folder.path(), Options::default()).unwrap();
    (folder, Arc::new(store))
});
