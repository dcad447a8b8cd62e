-- Pull-through caches. A repository with an upstream has the kind 'mirrored': its manifests may lack their blobs.

-- When a tag was last found to be what its upstream has; NULL where it never was.
ALTER TABLE tag ADD COLUMN checked_at INTEGER;
