//! A document as XML 1.0 has it, in the words of it that `s3s` reads: it passes over CDATA sections (another object than
//! the one that is named would be deleted), knows no prefixes, and takes white space around a number for a part of it.
//!
//! Invariant: the elements and texts that a parser of XML finds in what comes out are those that it finds in what went in,
//! but for white space around values that have a type without it.

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

/// S3's namespace.
const S3: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Elements that are whole numbers. `s3s` reads one up to its first character that is no digit: of `1,000` days one would be left.
const NUMBERS: [&str; 11] = [
    "Days",
    "DaysAfterInitiation",
    "MaxAgeSeconds",
    "MaxParts",
    "NewerNoncurrentVersions",
    "NoncurrentDays",
    "ObjectSizeGreaterThan",
    "ObjectSizeLessThan",
    "PartNumber",
    "Size",
    "Years",
];

/// Others whose type collapses white space (XML Schema, part 2, 4.3.6): dates, booleans, and digests, which have none in
/// them.
const COLLAPSED: [&str; 17] = [
    "ChecksumCRC32",
    "ChecksumCRC32C",
    "ChecksumCRC64NVME",
    "ChecksumMD5",
    "ChecksumSHA1",
    "ChecksumSHA256",
    "ChecksumSHA512",
    "ChecksumXXHASH128",
    "ChecksumXXHASH3",
    "ChecksumXXHASH64",
    "Date",
    "ETag",
    "ExpiredObjectDeleteMarker",
    "Mode",
    "Quiet",
    "RetainUntilDate",
    "VersionId",
];

/// White space (XML 1.0, 2.3).
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Bytes of what comes out: text of a CDATA section is longer there.
const MAX_BYTES: usize = 2 * super::document::MAX_BYTES;

/// Elements within each other: those of S3's documents are six deep.
const MAX_DEPTH: usize = 32;

/// It is not well-formed, not in UTF-8, or longer or deeper than any of S3's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<quick_xml::Error> for Malformed {
    fn from(_: quick_xml::Error) -> Self {
        Self
    }
}

/// The document anew.
pub(crate) fn plain(document: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(document).map_err(|_| Malformed)?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{FEFF}'));
    let mut writer = Writer { out: String::with_capacity(text.len()), open: Vec::new(), had_root: false };
    loop {
        // An end tag has the name of its start tag: that is checked by the reader.
        let (namespace, event) = reader.read_resolved_event()?;
        match event {
            Event::Start(tag) => writer.start(&namespace, &tag)?,
            Event::Empty(tag) => {
                writer.start(&namespace, &tag)?;
                writer.end()?;
            }
            Event::End(_) => writer.end()?,
            Event::Text(text) => writer.text(&text.xml10_content())?,
            Event::CData(text) => writer.escaped(&text.xml10_content())?,
            Event::GeneralRef(name) => match name.resolve_char_ref()? {
                // `s3s` does not know those beyond U+FFFF.
                Some(character) => writer.escaped(character.encode_utf8(&mut [0; 4]))?,
                None => writer.text(&format!("&{};", &*name))?,
            },
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            // Entities of a document's own are nobody's in S3, and a way to make a large one of a small one.
            Event::DocType(_) => return Err(Malformed),
            Event::Eof => break,
        }
    }
    if writer.had_root && writer.open.is_empty() { Ok(writer.out) } else { Err(Malformed) }
}

struct Writer {
    out: String,
    open: Vec<Open>,
    had_root: bool,
}

/// An element whose end has not come.
struct Open {
    name: String,
    /// Where its content begins.
    content: usize,
    has_elements: bool,
}

impl Writer {
    fn start(&mut self, namespace: &ResolveResult<'_>, tag: &BytesStart<'_>) -> Result<(), Malformed> {
        let is_second_root = self.open.is_empty() && std::mem::replace(&mut self.had_root, true);
        if is_second_root || self.open.len() >= MAX_DEPTH {
            return Err(Malformed);
        }
        if let Some(parent) = self.open.last_mut() {
            parent.has_elements = true;
        }
        if !is_tag(tag) {
            return Err(Malformed);
        }
        let (full, local) = (tag.name(), tag.local_name());
        // With another namespace it is another element: the prefix stays, and nobody knows it.
        let name = match namespace {
            ResolveResult::Bound(bound) if bound.as_ref() == S3 => local.into_inner(),
            _ => full.into_inner(),
        };
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(tag.attributes_raw());
        self.out.push('>');
        self.open.push(Open { name: name.to_owned(), content: self.out.len(), has_elements: false });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Malformed> {
        let Open { name, content, has_elements } = self.open.pop().ok_or(Malformed)?;
        let is_number = NUMBERS.contains(&name.as_str());
        if !has_elements && (is_number || COLLAPSED.contains(&name.as_str())) {
            let collapsed = self.out[content..].trim_matches(SPACE).to_owned();
            if is_number && !is_integer(&collapsed) {
                return Err(Malformed);
            }
            self.out.truncate(content);
            self.out.push_str(&collapsed);
        }
        self.out.push_str("</");
        self.out.push_str(&name);
        self.out.push('>');
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Malformed> {
        if self.open.is_empty() {
            let is_space = text.trim_matches(SPACE).is_empty();
            return if is_space { Ok(()) } else { Err(Malformed) };
        }
        self.push(text)
    }

    /// What is to be read as this text.
    fn escaped(&mut self, text: &str) -> Result<(), Malformed> {
        if self.open.is_empty() {
            return self.text(text);
        }
        let mut rest = text;
        while let Some(at) = rest.find(['&', '<', '>', '\r']) {
            self.push(&rest[..at])?;
            self.push(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                // A reference to it is no end of a line.
                _ => "&#13;",
            })?;
            rest = &rest[at + 1..];
        }
        self.push(rest)
    }

    fn push(&mut self, text: &str) -> Result<(), Malformed> {
        if self.out.len() + text.len() > MAX_BYTES {
            return Err(Malformed);
        }
        self.out.push_str(text);
        Ok(())
    }
}

/// As XML has one (1.0, 3.1), but that references in an attribute's value are not looked at. The reader takes whatever stands
/// between `<` and `>`, and does not look at attributes by itself.
fn is_tag(tag: &BytesStart<'_>) -> bool {
    let mut names = tag.attributes().map(|one| one.is_ok_and(|one| is_name(one.key.into_inner())));
    // What may come to stand without its prefix is a name, too, and has no second prefix (Namespaces in XML 1.0, 4).
    let local = tag.local_name().into_inner();
    is_name(tag.name().into_inner())
        && is_name(local)
        && !local.contains(':')
        && !tag.contains('<')
        && names.all(|is| is)
        && are_apart(tag.attributes_raw())
}

/// Whether there is white space behind each attribute's value but the last.
fn are_apart(attributes: &str) -> bool {
    let mut rest = attributes;
    while let Some(at) = rest.find(['"', '\'']) {
        let value = &rest[at + 1..];
        let Some(end) = value.find(&rest[at..=at]) else { return false };
        rest = &value[end + 1..];
        if !rest.is_empty() && !rest.starts_with(SPACE) {
            return false;
        }
    }
    true
}

/// As XML has one (1.0, 2.3), but that all characters beyond ASCII may be in it.
fn is_name(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':') || !c.is_ascii();
    let goes_on = |c: char| begins(c) || c.is_ascii_digit() || matches!(c, '-' | '.');
    text.starts_with(begins) && text.chars().all(goes_on)
}

/// As XML Schema has one (part 2, 3.3.13).
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, Malformed> {
        plain(text.as_bytes())
    }

    #[test]
    fn sections_are_text() {
        assert_eq!(
            of("<Delete><Object><Key>pre<![CDATA[a&b<]]>post</Key></Object></Delete>").as_deref(),
            Ok("<Delete><Object><Key>prea&amp;b&lt;post</Key></Object></Delete>")
        );
        assert_eq!(of("<Key><!-- <![CDATA[x]]> -->k</Key>").as_deref(), Ok("<Key>k</Key>"));
    }

    #[test]
    fn prefixes_of_the_namespace_are_taken_off() {
        let document = format!("<s3:Delete xmlns:s3=\"{S3}\"><s3:Object><o:Key/></s3:Object></s3:Delete>");
        let anew = of(&document).expect("well-formed");
        assert!(
            anew.starts_with("<Delete xmlns:s3=")
                && anew.ends_with("<Object><o:Key></o:Key></Object></Delete>")
        );
        assert_eq!(
            of("<Delete xmlns=\"other\"><Key/></Delete>").as_deref(),
            Ok("<Delete xmlns=\"other\"><Key></Key></Delete>")
        );
    }

    #[test]
    fn texts_stay_as_they_are() {
        let text = "<?xml version=\"1.0\"?>\n<Tag><Key> a\tb </Key><Value>&#13;&amp;&#x1;</Value></Tag>\n";
        assert_eq!(of(text).as_deref(), Ok("<Tag><Key> a\tb </Key><Value>&#13;&amp;\u{1}</Value></Tag>"));
        assert_eq!(
            of("<Key>&#128512;&#38;&#60;&quot;</Key>").as_deref(),
            Ok("<Key>\u{1F600}&amp;&lt;&quot;</Key>")
        );
        assert_eq!(of("<Key>a\r\nb\rc</Key>").as_deref(), Ok("<Key>a\nb\nc</Key>"), "XML 1.0, 2.11");
        assert_eq!(
            of("<Part><PartNumber> 1\n</PartNumber></Part>").as_deref(),
            Ok("<Part><PartNumber>1</PartNumber></Part>")
        );
        assert_eq!(
            of("<A B=\"x>y\" xsi:type='z'><C/></A>").as_deref(),
            Ok("<A B=\"x>y\" xsi:type='z'><C></C></A>")
        );
    }

    #[test]
    fn numbers_are_numbers_to_their_end() {
        for good in ["1", "-1", "+30", " 7\n"] {
            assert!(of(&format!("<Rule><Days>{good}</Days></Rule>")).is_ok(), "{good}");
        }
        for bad in ["1,000", "1e3", "3 650", "36O", "1.5", "1_000", "0x10", "", "-", "one"] {
            for name in NUMBERS {
                assert_eq!(
                    of(&format!("<Rule><{name}>{bad}</{name}></Rule>")),
                    Err(Malformed),
                    "{name} {bad}"
                );
            }
        }
        assert!(of("<Object><Key>1,000</Key></Object>").is_ok());
    }

    #[test]
    fn what_is_no_document() {
        for bad in [
            "",
            " ",
            "text",
            "<A>",
            "<A></B>",
            "<A/>junk",
            "<A/><B/>",
            "<!DOCTYPE A []><A/>",
            "<A><![CDATA[x</A>",
            // A reader that ends a tag elsewhere finds other elements in them.
            "<A //>",
            "<A b/ />",
            "<A b=c/>",
            "<A b='<'/>",
            "<A b='1' b='2'/>",
            "<A b='1'c='2'/>",
            "<A /b='1'/>",
            "<A 1='1'/>",
            "<s3:/>",
            "<s3:1/>",
            "<s3:o:x/>",
            "<s3:/ xmlns:s3='http://s3.amazonaws.com/doc/2006-03-01/'/>",
            "<A&amp;/>",
            "<1/>",
            "< A/>",
            "<Ke&amp;;\n&lt;<//>",
        ] {
            assert_eq!(of(bad), Err(Malformed), "{bad}");
        }
        assert_eq!(plain(b"<A>\xff</A>"), Err(Malformed));
        let deep = |levels: usize| of(&format!("{}{}", "<Date>".repeat(levels), "</Date>".repeat(levels)));
        assert!(deep(MAX_DEPTH).is_ok());
        assert_eq!(deep(MAX_DEPTH + 1), Err(Malformed));
    }
}
