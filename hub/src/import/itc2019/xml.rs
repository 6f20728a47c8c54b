//! XML, element by element, with errors that say where.
//!
//! Used by the other files of `itc2019`. It knows nothing of what elements mean, and fetches no DTD.

use std::cell::Cell;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::Fault;

/// In how many others an element may lie.
const MAX_DEPTH: usize = 16;
/// The longest id. Codes made of it have a letter more, sessions' names a week and a day.
const MAX_ID_BYTES: usize = 64;

/// A file's text.
pub(super) struct File {
    pub(super) name: Arc<str>,
    text: String,
    /// A byte whose line is known, and that line: the next one asked for mostly comes behind it.
    known: Cell<(usize, u64)>,
}

impl File {
    /// The text of a file; byte-order marks are left out.
    pub(super) fn new(name: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes).into_owned();
        let file = Self { name: name.into(), text, known: Cell::new((0, 1)) };
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(file),
            Err(error) => Err(file.wrong(error.valid_up_to(), "not UTF-8 text")),
        }
    }

    /// The line that a byte of the text stands on, from 1.
    pub(super) fn line(&self, at: usize) -> u64 {
        let at = at.min(self.text.len());
        let (from, line) = if at < self.known.get().0 { (0, 1) } else { self.known.get() };
        let ends = self.text.as_bytes()[from..at].iter().filter(|byte| **byte == b'\n').count();
        let line = line + ends as u64;
        self.known.set((at, line));
        line
    }

    /// The name of the element around everything; nothing where there is none.
    pub(super) fn root(&self) -> Option<String> {
        let mut reader = Reader::from_str(&self.text);
        loop {
            match reader.read_event() {
                Ok(Event::Start(start) | Event::Empty(start)) => {
                    return Some(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                }
                Ok(Event::Eof) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// An error at a byte of the text.
    pub(super) fn wrong(&self, at: usize, message: impl Into<String>) -> Fault {
        Fault { file: self.name.clone(), line: self.line(at), message: message.into() }
    }

    /// Calls `on` with each element and the names of those around it, outermost first. An error at the end
    /// of the file if elements are left open, or if there is none called `root` around everything.
    pub(super) fn each(
        &self,
        root: &str,
        mut on: impl FnMut(&[String], &Tag<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut reader = Reader::from_str(&self.text);
        reader.config_mut().expand_empty_elements = true;
        let mut around: Vec<String> = Vec::new();
        let mut seen = false;
        loop {
            let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let event = reader.read_event().map_err(|error| {
                let at = usize::try_from(reader.error_position()).unwrap_or(usize::MAX);
                let inside = around.last().map(|name| format!(", inside <{name}>")).unwrap_or_default();
                self.wrong(at, format!("not well-formed XML{inside}: {error}"))
            })?;
            match event {
                Event::Start(start) => {
                    let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
                    if around.is_empty() && name != root {
                        return Err(self.wrong(at, format!("<{name}>: expected <{root}>")));
                    }
                    seen = true;
                    if around.len() >= MAX_DEPTH {
                        return Err(
                            self.wrong(at, format!("<{name}>: lies in more than {MAX_DEPTH} elements"))
                        );
                    }
                    on(&around, &Tag { file: self, name: &name, start, at })?;
                    around.push(name);
                }
                Event::End(_) => {
                    around.pop();
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match around.last() {
            Some(open) => Err(self.wrong(self.text.len(), format!("<{open}> is never closed"))),
            None if !seen => Err(self.wrong(self.text.len(), format!("there is no <{root}>"))),
            None => Ok(()),
        }
    }
}

/// An element's start.
pub(super) struct Tag<'a> {
    file: &'a File,
    pub(super) name: &'a str,
    start: BytesStart<'a>,
    /// Byte of the text.
    pub(super) at: usize,
}

impl Tag<'_> {
    /// An error about this element.
    pub(super) fn wrong(&self, what: &str) -> Fault {
        let id = match self.attribute("id") {
            Ok(Some(id)) => format!(" id={id:?}"),
            _ => String::new(),
        };
        self.file.wrong(self.at, format!("<{}{id}>: {what}", self.name))
    }

    /// An attribute's value, if it is there.
    pub(super) fn attribute(&self, name: &str) -> Result<Option<String>, Fault> {
        let bad = |what: String| self.file.wrong(self.at, format!("<{}>: {what}", self.name));
        // Whether one stands twice is not looked for: the first counts.
        for attribute in self.start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| bad(error.to_string()))?;
            if attribute.key.as_ref() == name.as_bytes() {
                let value =
                    attribute.unescape_value().map_err(|error| bad(format!("attribute {name}: {error}")))?;
                return Ok(Some(value.into_owned()));
            }
        }
        Ok(None)
    }

    /// An attribute's value.
    pub(super) fn text(&self, name: &str) -> Result<String, Fault> {
        self.attribute(name)?.ok_or_else(|| self.wrong(&format!("attribute {name} is missing")))
    }

    /// The name that things go by: an attribute that is no longer than a code may be.
    pub(super) fn id(&self) -> Result<String, Fault> {
        let id = self.text("id")?;
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            let what = format!("attribute id has {} bytes, and may have from 1 to {MAX_ID_BYTES}", id.len());
            return Err(self.file.wrong(self.at, format!("<{}>: {what}", self.name)));
        }
        Ok(id)
    }

    /// An attribute's value as a number.
    pub(super) fn number(&self, name: &str) -> Result<u32, Fault> {
        let text = self.text(name)?;
        text.trim()
            .parse()
            .map_err(|error| self.wrong(&format!("attribute {name}={text:?} is no number: {error}")))
    }

    /// An attribute's value as a row of `count` bits.
    pub(super) fn bits(&self, name: &str, count: Option<u32>) -> Result<String, Fault> {
        let text = self.text(name)?;
        if !text.bytes().all(|byte| matches!(byte, b'0' | b'1')) {
            return Err(self.wrong(&format!("attribute {name}={text:?} has something else than 0 and 1")));
        }
        match count {
            Some(count) if usize::try_from(count) != Ok(text.len()) => {
                Err(self.wrong(&format!("attribute {name}={text:?} should have {count} bits")))
            }
            _ => Ok(text),
        }
    }
}
