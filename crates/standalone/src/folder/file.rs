//! An object as one file: its bytes, then its headers as JSON, then the length of that and a magic.
//!
//! Invariant: what is read was finished: a file whose end is not ours, or whose lengths do not add up,
//! is an error and never an absent object or a short one. The headers stand behind the bytes because
//! the ETag is known only then, and in the same file because two files cannot appear at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::paths::publish;

const MAGIC: [u8; 12] = *b"s3o folder 1";
/// Length of the headers, big-endian, then the magic.
const FOOTER: u64 = 16;
/// S3 takes 2 KB of metadata; more than this is not a file of ours.
const MAX_HEAD: u64 = 64 * 1024;
const BUFFER: usize = 256 * 1024;

/// The headers of an object. Absent ones are left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Head {
    /// Bytes before the headers.
    pub(super) size: u64,
    /// MD5 of the bytes, in hex.
    pub(super) etag: String,
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub(super) metadata: HashMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<String>,
}

/// An open object; its bytes begin at offset 0.
pub(super) struct Stored {
    pub(super) file: File,
    pub(super) head: Head,
    pub(super) modified: SystemTime,
}

impl Stored {
    /// Opens an object and reads its headers.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let head = read_head(&mut file, meta.len()).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no object of ours: {error}", path.display()),
            )
        })?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file, head, modified: meta.modified()? })
    }
}

fn read_head(file: &mut File, length: u64) -> io::Result<Head> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let end = length.checked_sub(FOOTER).ok_or_else(|| wrong("too short"))?;
    file.seek(SeekFrom::Start(end))?;
    let (mut head_length, mut magic) = ([0; 4], [0; 12]);
    file.read_exact(&mut head_length)?;
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(wrong("its end is not ours"));
    }
    let head_length = u64::from(u32::from_be_bytes(head_length));
    let start = end.checked_sub(head_length).filter(|_| head_length <= MAX_HEAD);
    let start = start.ok_or_else(|| wrong("its headers are too long"))?;
    file.seek(SeekFrom::Start(start))?;
    let head: Head = serde_json::from_reader(file.take(head_length)).map_err(io::Error::from)?;
    if head.size == start { Ok(head) } else { Err(wrong("its lengths do not add up")) }
}

/// An object that is being written. Dropped before [`Draft::finish`], nothing of it remains.
pub(super) struct Draft {
    path: PathBuf,
    file: BufWriter<tokio::fs::File>,
    md5: Md5,
    size: u64,
}

impl Draft {
    pub(super) async fn new(path: PathBuf) -> io::Result<Self> {
        let file = tokio::fs::File::create_new(&path).await?;
        Ok(Self { path, file: BufWriter::with_capacity(BUFFER, file), md5: Md5::new(), size: 0 })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn write(&mut self, chunk: &Bytes) -> io::Result<()> {
        self.md5.update(chunk);
        self.size += chunk.len() as u64;
        self.file.write_all(chunk).await
    }

    /// Adds the headers, syncs, and puts the object in its place beneath `bucket`.
    pub(super) async fn finish(
        mut self,
        mut head: Head,
        place: PathBuf,
        bucket: PathBuf,
    ) -> io::Result<Head> {
        head.size = self.size;
        head.etag = hex::encode(std::mem::take(&mut self.md5).finalize());
        self.file.write_all(&footer(&head)?).await?;
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        blocking(move || publish(&self.path, &place, &bucket)).await?;
        Ok(head)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After finish it is gone from here already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Copies an object under other headers to another place, whole or not at all.
pub(super) fn copy(
    from: &Path,
    draft: &Path,
    with: Option<Head>,
    place: &Path,
    bucket: &Path,
) -> io::Result<Head> {
    let source = Stored::open(from)?;
    let mut head = with.unwrap_or_else(|| source.head.clone());
    head.size = source.head.size;
    head.etag.clone_from(&source.head.etag);
    let mut file = File::create_new(draft)?;
    let copied = (|| {
        let copied = io::copy(&mut source.file.take(head.size), &mut file)?;
        if copied != head.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(&footer(&head)?)?;
        file.sync_all()?;
        publish(draft, place, bucket)
    })();
    if copied.is_err() {
        let _ = std::fs::remove_file(draft);
    }
    copied.map(|()| head)
}

fn footer(head: &Head) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(head).map_err(io::Error::from)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| u64::from(*length) <= MAX_HEAD);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the headers are too long"))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&MAGIC);
    Ok(bytes)
}

/// Runs file operations where they may block.
pub(super) async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
