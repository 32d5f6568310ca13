//! Multipart uploads. Each part is a blob of its own: UploadPart is a write like any other, and Complete moves no
//! byte. What the parts add up to is worked out here; whether they are still those is the control plane's to say.

pub(super) mod abort;
pub(super) mod complete;
mod copied;
pub(super) mod create;
pub(super) mod list_parts;
pub(super) mod list_uploads;
mod token;
pub(super) mod upload_part;
pub(super) mod upload_part_copy;

use s3o_types::ErrorCode;
use s3s::dto::Initiator;
use s3s::{S3Error, S3Result};

use crate::pipeline::faults::{self, invalid_argument};

/// S3's greatest part number (Amazon S3 User Guide, "Amazon S3 multipart upload limits").
const MAX_PART: u16 = 10_000;

/// A part's number as S3 takes it.
pub(super) fn part_number(number: i32) -> S3Result<u16> {
    let part = u16::try_from(number).ok().filter(|part| (1..=MAX_PART).contains(part));
    part.ok_or_else(|| {
        invalid_argument(format!("Part number must be an integer between 1 and {MAX_PART}, inclusive"))
    })
}

fn no_such_upload() -> S3Error {
    faults::of_code(
        ErrorCode::NoSuchUpload,
        "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.",
    )
}

/// Who opened an upload, as S3 names principals.
fn initiator(access_key: String) -> Initiator {
    Initiator { display_name: None, id: Some(access_key) }
}

/// The standard class where none was said.
fn storage_class(class: String) -> String {
    if class.is_empty() { "STANDARD".to_owned() } else { class }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers() {
        assert_eq!(part_number(1).expect("the first"), 1);
        assert_eq!(part_number(10_000).expect("the last"), 10_000);
        for bad in [0, -1, 10_001, i32::MAX] {
            assert_eq!(part_number(bad).expect_err("out of range").code().as_str(), "InvalidArgument");
        }
    }
}
