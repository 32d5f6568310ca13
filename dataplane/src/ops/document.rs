//! Documents of which a misspelt element would mean something else: no retention, no tags, an object without a part. `s3s` passes
//! over elements that it does not know, those of a document's outermost one and those of lists.

use s3s::xml::{DeError, DeResult, Deserializer};
use s3s::{S3Request, S3Result, s3_error};

use crate::http::document::Document;

/// Characters of an unknown name that a client is told: it may be as long as the document.
const MAX_NAME: usize = 64;

/// Refuses a document that has others than the known elements within its outermost one, by their name. They are named by their
/// paths, as in `TagSet/Tag`; what is within those that are no parent of another is the parser's to refuse.
pub(super) fn check_elements<T>(req: &S3Request<T>, known: &[&str]) -> S3Result<()> {
    let Document(text) = req.extensions.get().ok_or_else(|| s3_error!(MalformedXML))?;
    elements(text, known)
}

/// The same of a document that came otherwise.
pub(super) fn elements(text: &[u8], known: &[&str]) -> S3Result<()> {
    let mut unknown = None;
    let read = Deserializer::new(text).element(|reader, _| within(reader, "", known, &mut unknown));
    match (read, unknown) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(name)) => Err(s3_error!(MalformedXML, "The element '{name}' is not known here.")),
        (Err(_), None) => Err(s3_error!(MalformedXML)),
    }
}

fn within(
    reader: &mut Deserializer<'_>,
    parent: &str,
    known: &[&str],
    unknown: &mut Option<String>,
) -> DeResult {
    reader.for_each_element(|reader, name| {
        let name = String::from_utf8_lossy(name);
        let path = format!("{parent}{name}");
        if !known.contains(&path.as_str()) {
            *unknown = Some(name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect());
            return Err(DeError::UnexpectedTagName);
        }
        let children = path + "/";
        if known.iter().any(|known| known.starts_with(&children)) {
            return within(reader, &children, known, unknown);
        }
        pass(reader)
    })
}

/// To the end of an element that was parsed before: it is as deep as what is known.
fn pass(reader: &mut Deserializer<'_>) -> DeResult {
    reader.for_each_element(|reader, _| pass(reader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_elements_are_named() {
        let of = |text: &str| elements(text.as_bytes(), &["Mode", "Rule"]).err();
        assert!(
            of("<?xml version=\"1.0\"?>\n<R xmlns=\"x\">\n <Mode>A&amp;B</Mode><Mode/>\n</R>\n").is_none()
        );
        assert!(of("<R><Rule><Other><Mode/>x</Other></Rule></R>").is_none(), "the parser's to refuse");
        assert!(of("<R/>").is_none() && of("<R>x</R>").is_none());
        let error = of("<R><Mode/><mode>A</mode></R>").expect("unknown");
        assert_eq!(error.code().as_str(), "MalformedXML");
        assert_eq!(error.message(), Some("The element 'mode' is not known here."));
        assert!(of("<R><a:Mode/></R>").is_some() && of("<R><Mode></R>").is_some() && of("").is_some());
        let deep = |text: &str| elements(text.as_bytes(), &["Set", "Set/Tag"]).err();
        assert!(
            deep("<R><Set><Tag><Any/></Tag><Tag/></Set></R>").is_none() && deep("<R><Set/></R>").is_none()
        );
        assert!(deep("<R><Set><tag/></Set></R>").is_some() && deep("<R><Tag/></R>").is_some());
        let error = of(&format!("<R><{}/></R>", "é".repeat(70))).expect("unknown");
        assert_eq!(error.message().map(|text| text.matches('é').count()), Some(MAX_NAME));
    }
}
