//! What is in a tar file and where, without unpacking it: members are read from their offsets later.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use tar::{EntryType, Header, PaxExtensions};

use crate::LayoutError;
use crate::range::Range;

/// The size of everything in a tar file.
pub(crate) const BLOCK: u64 = 512;

/// The most members that are remembered.
const MEMBERS: usize = 200_000;

/// The longest extension header: a path, or a few attributes.
const EXTENSION: u64 = 1 << 20;

/// The longest chain of links from one member to another.
const LINKS: usize = 8;

/// The members of a tar file by their names.
pub(crate) struct TarIndex {
    file: Arc<File>,
    path: Arc<PathBuf>,
    members: HashMap<String, Member>,
}

enum Member {
    File {
        offset: u64,
        length: u64,
    },
    /// To another member, by its full name.
    Link(String),
}

/// What extension headers say about the member that follows them.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl TarIndex {
    /// Reads the headers of a tar file.
    pub fn read(path: PathBuf) -> Result<Self, LayoutError> {
        let file = File::open(&path).map_err(LayoutError::io(&path))?;
        let size = file.metadata().map_err(LayoutError::io(&path))?.len();
        let mut reader = Reader { file: &file, size, members: HashMap::new() };
        match reader.read_all() {
            Ok(()) => {
                let members = reader.members;
                Ok(Self { file: Arc::new(file), path: Arc::new(path), members })
            }
            Err(Fault::Io(error)) => Err(LayoutError::Io { path, error }),
            Err(Fault::Form(why)) => {
                Err(LayoutError::Form { path, what: "a tar file that can be read", why })
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The bytes of a member, links followed.
    pub fn find(&self, name: &str) -> Option<Range> {
        let mut name = name;
        for _ in 0..LINKS {
            match self.members.get(name)? {
                Member::Link(target) => name = target,
                Member::File { offset, length } => {
                    let (file, path) = (self.file.clone(), self.path.clone());
                    return Some(Range { file, path, offset: *offset, length: *length });
                }
            }
        }
        None
    }
}

enum Fault {
    Io(io::Error),
    Form(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn form(why: &str) -> Fault {
    Fault::Form(why.to_owned())
}

struct Reader<'a> {
    file: &'a File,
    size: u64,
    members: HashMap<String, Member>,
}

impl Reader<'_> {
    fn read_all(&mut self) -> Result<(), Fault> {
        let mut at = 0;
        let mut extended = Extended::default();
        while at + BLOCK <= self.size {
            let mut block = [0; BLOCK as usize];
            self.file.read_exact_at(&mut block, at)?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let header = Header::from_byte_slice(&block);
            check(header, &block, at)?;
            let own = header.entry_size().map_err(|_| form("a member has no size"))?;
            let kind = header.entry_type();
            // An extension header tells of the next member, never of another extension.
            let length = if is_extension(kind) { own } else { extended.size.unwrap_or(own) };
            let data = at + BLOCK;
            let end = data.checked_add(length).filter(|end| *end <= self.size);
            let end = end.ok_or_else(|| form("it ends in the middle of a member: it is cut off"))?;
            if is_extension(kind) {
                self.extend(&mut extended, kind, data, length)?;
            } else {
                self.add(header, std::mem::take(&mut extended), data, length)?;
            }
            at = end.next_multiple_of(BLOCK);
        }
        Ok(())
    }

    /// Reads an extension header into `extended`.
    fn extend(&self, extended: &mut Extended, kind: EntryType, at: u64, length: u64) -> Result<(), Fault> {
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        if length > EXTENSION {
            return Err(form("a member's name or attributes are longer than 1 MiB"));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| form("too long"))?];
        self.file.read_exact_at(&mut bytes, at)?;
        match kind {
            EntryType::GNULongName => extended.path = Some(text(&bytes)?),
            EntryType::GNULongLink => extended.link = Some(text(&bytes)?),
            _ => {
                for attribute in PaxExtensions::new(&bytes) {
                    let attribute = attribute.map_err(|_| form("a member's attributes are malformed"))?;
                    match attribute.key_bytes() {
                        b"path" => extended.path = Some(text(attribute.value_bytes())?),
                        b"linkpath" => extended.link = Some(text(attribute.value_bytes())?),
                        b"size" => {
                            let size = text(attribute.value_bytes())?.parse();
                            extended.size = Some(size.map_err(|_| form("a member's size is malformed"))?);
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, header: &Header, extended: Extended, offset: u64, length: u64) -> Result<(), Fault> {
        let written = match extended.path {
            Some(path) => path,
            None => text(&header.path_bytes())?,
        };
        let link = match extended.link {
            Some(link) => Some(link),
            None => header.link_name_bytes().map(|bytes| text(&bytes)).transpose()?,
        };
        // Names that lead out of the archive are nothing that is ever asked for.
        let Some(name) = normal("", &written) else { return Ok(()) };
        let member = match (header.entry_type(), link) {
            (EntryType::Regular | EntryType::Continuous, _) => Member::File { offset, length },
            (EntryType::Symlink, Some(link)) => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                match normal(folder, &link) {
                    Some(target) => Member::Link(target),
                    None => return Ok(()),
                }
            }
            (EntryType::Link, Some(link)) => match normal("", &link) {
                Some(target) => Member::Link(target),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        self.members.insert(name, member);
        if self.members.len() > MEMBERS {
            return Err(Fault::Form(format!("it has more than {MEMBERS} members")));
        }
        Ok(())
    }
}

/// Not every file that is given as a tar file is one.
fn check(header: &Header, block: &[u8; BLOCK as usize], at: u64) -> Result<(), Fault> {
    if at == 0 && (block.starts_with(&[0x1f, 0x8b]) || block.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])) {
        return Err(form("it is compressed: decompress it first, with gunzip or unzstd"));
    }
    // The checksum counts its own eight bytes as spaces.
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    match header.cksum() {
        Ok(written) if written == sum - own + 8 * 32 => Ok(()),
        _ if at == 0 => Err(form("it has no tar header")),
        _ => Err(form("a header in it is damaged")),
    }
}

const fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
    )
}

fn text(bytes: &[u8]) -> Result<String, Fault> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| form("a member's name is not UTF-8"))
}

/// A path from the top of the archive, without `.` and `..`; `None` where it leads out.
fn normal(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { vec![folder] };
    parts.retain(|part| !part.is_empty());
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                let last = parts.pop()?;
                parts.extend(last.rsplit_once('/').map(|(rest, _)| rest));
            }
            _ => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(bytes: &[u8]) -> Result<TarIndex, LayoutError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, bytes).unwrap();
        TarIndex::read(path)
    }

    fn read(index: &TarIndex, name: &str) -> Option<Vec<u8>> {
        index.find(name).map(|range| range.read(1 << 20).unwrap().to_vec())
    }

    fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str) {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(kind);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }

    #[test]
    fn members_are_found_by_name_and_by_link() {
        let mut builder = tar::Builder::new(Vec::new());
        let long = format!("{}/layer.tar", "d".repeat(200));
        file(&mut builder, "./manifest.json", b"[]");
        file(&mut builder, &long, b"long");
        file(&mut builder, "a/layer.tar", &[7; 1000]);
        file(&mut builder, "twice", b"first");
        file(&mut builder, "twice", b"second");
        link(&mut builder, EntryType::Symlink, "b/layer.tar", "../a/layer.tar");
        link(&mut builder, EntryType::Link, "c", "a/layer.tar");
        link(&mut builder, EntryType::Symlink, "round", "round");
        link(&mut builder, EntryType::Symlink, "out", "../../etc/passwd");
        link(&mut builder, EntryType::Symlink, "dangling", "nothing");
        let index = index(&builder.into_inner().unwrap()).unwrap();
        let check =
            |name: &str, expect: Option<&[u8]>| assert_eq!(read(&index, name).as_deref(), expect, "{name}");
        check("manifest.json", Some(b"[]"));
        check(&long, Some(b"long"));
        check("a/layer.tar", Some(&[7; 1000]));
        check("b/layer.tar", Some(&[7; 1000]));
        check("c", Some(&[7; 1000]));
        check("twice", Some(b"second"));
        for absent in ["round", "out", "dangling", "d", "", "etc/passwd", "../etc/passwd"] {
            check(absent, None);
        }
    }

    #[test]
    fn attributes_of_pax_headers_count() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", b"renamed".as_slice()), ("size", b"3")]).unwrap();
        file(&mut builder, "original", b"abcdef");
        let index = index(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(read(&index, "renamed").as_deref(), Some(b"abc".as_slice()));
        assert_eq!(read(&index, "original"), None);
    }

    #[test]
    fn what_is_no_tar_file_is_refused() {
        let check = |bytes: &[u8], word: &str| {
            let error = index(bytes).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        let mut builder = tar::Builder::new(Vec::new());
        file(&mut builder, "a", &[1; 2000]);
        let whole = builder.into_inner().unwrap();
        check(&whole[..1500], "cut off");
        let mut damaged = whole.clone();
        damaged[0] ^= 1;
        check(&damaged, "no tar header");
        let mut zipped = vec![0x1f, 0x8b];
        zipped.resize(1024, 1);
        check(&zipped, "gunzip");
        check(&[b'x'; 1024], "no tar header");
        assert!(index(b"").is_ok_and(|index| index.members.is_empty()));
    }

    #[test]
    fn paths_stay_inside() {
        let check = |folder: &str, path: &str, expect: Option<&str>| {
            assert_eq!(normal(folder, path).as_deref(), expect, "{folder} {path}");
        };
        check("", "./a//b/.", Some("a/b"));
        check("", "/a", Some("a"));
        check("x/y", "../a", Some("x/a"));
        check("x/y", "../../a", Some("a"));
        check("x/y", "../../../a", None);
        check("x", "/a", Some("a"));
        check("", "..", None);
        check("", ".", None);
        check("a", "..", None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_damage_panics(at in 0_usize..3072, byte: u8, cut in 0_usize..3072) {
            let mut builder = tar::Builder::new(Vec::new());
            builder.append_pax_extensions([("path", b"renamed".as_slice())]).unwrap();
            file(&mut builder, &"d".repeat(150), b"abcdef");
            let mut bytes = builder.into_inner().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().max(cut) - cut / 2);
            if let Ok(index) = index(&bytes) {
                index.members.keys().for_each(|name| { read(&index, name); });
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            index(&bytes).ok();
        }
    }
}
