//! `wharf delete`.

use anyhow::{Result, bail};
use client::{ClientError, Repository};
use oci::Reference;

use crate::args::DeleteFlags;
use crate::out::Out;

pub(crate) async fn run(flags: DeleteFlags, out: &mut Out) -> Result<()> {
    let image = &flags.image;
    let Some(reference) = &image.reference else {
        bail!("{image} names a whole repository: add the tag or the digest that is to be deleted");
    };
    let settings = flags.connect.settings();
    let repository = Repository::open(&image.host, &image.repository, &settings)?;
    match (repository.delete(reference).await, reference) {
        (Ok(()), Reference::Tag(tag)) => {
            out.line(format_args!("deleted the tag {tag} of docker://{}/{}", image.host, image.repository))?;
        }
        (Ok(()), Reference::Digest(digest)) => {
            let (host, name) = (&image.host, &image.repository);
            out.line(format_args!("deleted the manifest {digest} of docker://{host}/{name}, with its tags"))?;
        }
        (Err(error @ ClientError::Status { status, .. }), Reference::Tag(_))
            if matches!(status.as_u16(), 400 | 405) =>
        {
            bail!("{error}. That registry may delete by digest only: find it with `wharf inspect {image}`");
        }
        (Err(error), _) => return Err(error.into()),
    }
    out.finish()
}
