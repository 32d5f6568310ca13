//! Keys as paths beneath the root, and how a file gets to its path and away from it.
//!
//! Invariant: no key leads out of its bucket's folder, and a rename or an unlink that was reported is
//! on the disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

/// Files that are being written; no bucket name begins with a dot.
const DRAFTS: &str = ".drafts";
/// A folder that a delete takes away between our mkdir and our rename is made again this often.
const PUBLISH_ATTEMPTS: usize = 16;

/// The folder with all buckets.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    drafts: AtomicU64,
}

impl Root {
    /// Makes what is missing and removes drafts of a process that was killed. One process a root: the
    /// caller holds a lock.
    pub(super) fn open(path: &Path, bucket: &str) -> io::Result<Self> {
        fs::create_dir_all(path.join(bucket))?;
        let drafts = path.join(DRAFTS);
        fs::create_dir_all(&drafts)?;
        for draft in fs::read_dir(&drafts)? {
            fs::remove_file(draft?.path())?;
        }
        sync(path)?;
        Ok(Self { path: path.to_owned(), drafts: AtomicU64::new(0) })
    }

    /// A path for a new draft.
    pub(super) fn draft(&self) -> PathBuf {
        self.path.join(DRAFTS).join(self.drafts.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// The folder of a bucket that exists.
    pub(super) fn bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        let path = self.path.join(bucket);
        let plain = !bucket.starts_with('.') && !bucket.contains(['/', '\\', '\0']);
        if plain && path.is_dir() { Ok(path) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// The file of an object that may or may not exist.
    pub(super) fn object(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let mut path = self.bucket(bucket)?;
        for segment in key.split('/') {
            if matches!(segment, "" | "." | "..") || segment.contains('\0') {
                return Err(s3_error!(
                    InvalidArgument,
                    "a folder backend cannot hold a key with such a segment"
                ));
            }
            if segment.len() > 255 {
                return Err(s3_error!(KeyTooLongError));
            }
            path.push(segment);
        }
        Ok(path)
    }
}

/// Moves a finished, synced draft to its place beneath `bucket`.
pub(super) fn publish(draft: &Path, place: &Path, bucket: &Path) -> io::Result<()> {
    let folder = place.parent().unwrap_or(bucket);
    let mut attempts = 0;
    loop {
        fs::create_dir_all(folder)?;
        match fs::rename(draft, place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < PUBLISH_ATTEMPTS => {
                attempts += 1;
            }
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    // All of them: another writer may have made a folder above ours and not synced it yet.
    for above in folder.ancestors().take_while(|above| above.starts_with(bucket)) {
        sync(above)?;
    }
    Ok(())
}

/// Removes a file, and the folders beneath `bucket` that it leaves empty. Nothing there: nothing done.
pub(super) fn remove(place: &Path, bucket: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A folder above is a file: there is nothing at this key either.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        other => other?,
    }
    let Some(folder) = place.parent() else { return Ok(()) };
    match sync(folder) {
        // Another delete emptied it and took it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    for above in folder.ancestors().take_while(|above| above.starts_with(bucket) && *above != bucket) {
        // Not empty: in use. Gone: somebody else's work.
        if fs::remove_dir(above).is_err() {
            break;
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What a failed file operation on an object means to the client.
pub(super) fn s3_error_of(error: io::Error) -> S3Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            S3ErrorCode::NoSuchKey.into()
        }
        io::ErrorKind::InvalidFilename => S3ErrorCode::KeyTooLongError.into(),
        _ => S3Error::internal_error(error),
    }
}
