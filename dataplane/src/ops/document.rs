//! Documents of which a misspelt element would mean something else: no retention, no default. `s3s` passes over the elements
//! of a document's outermost one that it does not know.

use s3s::xml::{DeError, DeResult, Deserializer};
use s3s::{S3Request, S3Result, s3_error};

use crate::http::document::Document;

/// Characters of an unknown name that a client is told: it may be as long as the document.
const MAX_NAME: usize = 64;

/// Refuses a document whose outermost element has others than the known ones, by their name. What is within those is the
/// parser's to refuse.
pub(super) fn check_elements<T>(req: &S3Request<T>, known: &[&str]) -> S3Result<()> {
    let Document(text) = req.extensions.get().ok_or_else(|| s3_error!(MalformedXML))?;
    elements(text, known)
}

fn elements(text: &[u8], known: &[&str]) -> S3Result<()> {
    let mut unknown = None;
    let read = Deserializer::new(text).element(|reader, _| {
        reader.for_each_element(|reader, name| {
            if known.iter().any(|known| known.as_bytes() == name) {
                return pass(reader);
            }
            unknown = Some(
                String::from_utf8_lossy(name)
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(MAX_NAME)
                    .collect::<String>(),
            );
            Err(DeError::UnexpectedTagName)
        })
    });
    match (read, unknown) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(name)) => Err(s3_error!(MalformedXML, "The element '{name}' is not known here.")),
        (Err(_), None) => Err(s3_error!(MalformedXML)),
    }
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
        let error = of(&format!("<R><{}/></R>", "é".repeat(70))).expect("unknown");
        assert_eq!(error.message().map(|text| text.matches('é').count()), Some(MAX_NAME));
    }
}
