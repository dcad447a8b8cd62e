//! x
use crate::out::Out; use crate::Verdict; use crate::args::machines::DoctorFlags;
pub(crate) async fn run(_f: &DoctorFlags, _o: &mut Out) -> anyhow::Result<Verdict> { Ok(Verdict::Good) }
