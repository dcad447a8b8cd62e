//! Operations: what the end-points do, and what a caller must be allowed to do for each.
//!
//! One table. An end-point without a row does not compile, a row without a permission does not either, and the tests
//! walk the table with every role.

use access::Action;

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: but who is nobody in particular is asked to sign in, where there is anything to sign in to.
    SignedIn,
    /// To read lists that span repositories. They show what may be pulled.
    List,
    /// This, to the repository.
    Repository(Action),
}

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $operation:ident, $name:literal, $permission:expr, $sample:literal;)+) => {
        /// What an end-point does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[doc = $doc])+ $operation,)+
        }

        impl Operation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$operation),+];

            /// A short name for metrics and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => $name,)+
                }
            }

            /// What a caller must be allowed to do.
            pub const fn permission(self) -> Permission {
                match self {
                    $(Self::$operation => $permission,)+
                }
            }

            /// A request line for it, with `{name}`, `{digest}` and `{upload}` to be filled in.
            pub const fn sample(self) -> &'static str {
                match self {
                    $(Self::$operation => $sample,)+
                }
            }
        }
    };
}

impl Operation {
    /// Whether it reads from a repository.
    pub(crate) const fn pulls(self) -> bool {
        matches!(self, Self::Tags | Self::GetManifest | Self::GetBlob | Self::Referrers)
    }

    /// Whether it adds to a repository.
    pub(crate) fn adds(self) -> bool {
        self.permission() == PUSH
    }

    /// Whether the bytes of a blob go over the wire.
    pub(crate) const fn moves_a_blob(self) -> bool {
        matches!(self, Self::GetBlob | Self::StartUpload | Self::UploadChunk | Self::FinishUpload)
    }
}

const PULL: Permission = Permission::Repository(Action::Pull);
const PUSH: Permission = Permission::Repository(Action::Push);
const DELETE_TAG: Permission = Permission::Repository(Action::DeleteTag);
const DELETE_ARTIFACT: Permission = Permission::Repository(Action::DeleteArtifact);

operations! {
    /// end-1.
    Version, "version", Permission::SignedIn, "GET /v2/";
    /// The catalog.
    Catalog, "catalog", Permission::List, "GET /v2/_catalog";
    /// end-8.
    Tags, "tags", PULL, "GET /v2/{name}/tags/list";
    /// end-3.
    GetManifest, "manifest_get", PULL, "GET /v2/{name}/manifests/v1";
    /// end-7.
    PutManifest, "manifest_put", PUSH, "PUT /v2/{name}/manifests/v1";
    /// end-9, by tag.
    DeleteTag, "tag_delete", DELETE_TAG, "DELETE /v2/{name}/manifests/v1";
    /// end-9, by digest.
    DeleteManifest, "manifest_delete", DELETE_ARTIFACT, "DELETE /v2/{name}/manifests/{digest}";
    /// end-2.
    GetBlob, "blob_get", PULL, "GET /v2/{name}/blobs/{digest}";
    /// end-10.
    DeleteBlob, "blob_delete", DELETE_ARTIFACT, "DELETE /v2/{name}/blobs/{digest}";
    /// end-4 and end-11. A mount must also be allowed to pull from where the blob is.
    StartUpload, "upload_start", PUSH, "POST /v2/{name}/blobs/uploads/";
    /// end-13.
    UploadStatus, "upload_status", PUSH, "GET /v2/{name}/blobs/uploads/{upload}";
    /// end-5.
    UploadChunk, "upload_chunk", PUSH, "PATCH /v2/{name}/blobs/uploads/{upload}";
    /// end-6.
    FinishUpload, "upload_finish", PUSH, "PUT /v2/{name}/blobs/uploads/{upload}?digest={digest}";
    /// end-14.
    CancelUpload, "upload_cancel", PUSH, "DELETE /v2/{name}/blobs/uploads/{upload}";
    /// end-12.
    Referrers, "referrers", PULL, "GET /v2/{name}/referrers/{digest}";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    #[test]
    fn each_sample_is_a_request_for_its_operation() {
        for operation in Operation::ALL {
            let line = operation
                .sample()
                .replace("{name}", "team/app")
                .replace("{digest}", &oci::Digest::sha256(b"").to_string())
                .replace("{upload}", "0192f3a4-7c1e-7b3a-9d2e-3f1b5a6c7d8e");
            let (method, target) = line.split_once(' ').unwrap();
            let (path, query) =
                target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            let path = path.strip_prefix("/v2").unwrap();
            let endpoint = Endpoint::parse(&method.parse().unwrap(), path, query).unwrap();
            assert_eq!(endpoint.operation(), *operation);
            let about_one = matches!(operation.permission(), Permission::Repository(_));
            assert_eq!(endpoint.repository().is_some(), about_one, "{operation:?}");
        }
    }
}
