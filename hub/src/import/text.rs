//! Bytes into text: the encodings that exports come in.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Decodes a file: by its byte-order mark (UTF-8, UTF-16), else by `label`, else as UTF-8 where it is, else as
/// Windows-1252, which any bytes are. Gives the text and the encoding's name.
///
/// # Errors
/// When `label` names no encoding, or the bytes are not in the one that it names, or there is a NUL among them.
pub fn decode(bytes: &[u8], label: Option<&str>) -> Result<(String, &'static str), String> {
    let (text, name) = decoded(bytes, label)?;
    // Not every engine can store it, and no field means it.
    match text.lines().position(|line| line.contains('\0')) {
        Some(line) => Err(format!(
            "line {} holds a NUL character: is it UTF-16 without its mark? Say which encoding it has",
            line + 1
        )),
        None => Ok((text, name)),
    }
}

fn decoded(bytes: &[u8], label: Option<&str>) -> Result<(String, &'static str), String> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return whole(encoding, &bytes[mark..]);
    }
    if let Some(label) = label {
        let encoding = Encoding::for_label(label.as_bytes())
            .ok_or_else(|| format!("there is no encoding '{label}'; say utf-8, utf-16le or windows-1252"))?;
        return whole(encoding, bytes);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((text.to_owned(), UTF_8.name())),
        Err(error) => match mixed(bytes) {
            true => {
                let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
                Err(format!(
                    "line {line} holds bytes that are not UTF-8, and other lines hold letters that are: mend that line, or say \
                     which encoding the file has"
                ))
            }
            false => whole(WINDOWS_1252, bytes),
        },
    }
}

/// Whether bytes that are not UTF-8 throughout are so but for some: as Windows-1252 every letter beyond ASCII would be two wrong
/// ones.
fn mixed(bytes: &[u8]) -> bool {
    let (mut letters, mut wrong) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        letters += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        wrong += usize::from(!chunk.invalid().is_empty());
    }
    letters > wrong
}

/// The line at which a record really begins: empty lines before it are not its own.
#[must_use]
pub fn row(text: &str, position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let from = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    let before =
        rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    position.line() + before as u64
}

/// Whether a cell holds what only a quotation mark that is missing, or one too many, can have put there: rows behind it.
#[must_use]
pub fn swallowed(cell: &str, is_used: bool, separator: char) -> bool {
    // A note that nobody reads may have lines; a name or an address has none.
    cell.trim().contains(['\n', '\r']) && (is_used || cell.contains(separator))
}

/// What is said of it.
pub const SWALLOWED: &str =
    "the cell goes over several lines: is a quotation mark missing here, or one too many?";

fn whole(encoding: &'static Encoding, bytes: &[u8]) -> Result<(String, &'static str), String> {
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(|text| (text.into_owned(), encoding.name()))
        .ok_or_else(|| format!("holds bytes that are not {}; say which encoding it has", encoding.name()))
}

#[cfg(test)]
mod tests {
    use super::{decode, row};

    #[test]
    fn rows_are_counted_as_an_editor_counts_them() {
        for end in ["\n", "\r\n"] {
            let text = ["a,b", "1,2", "", "\"3", "x\",4", "", "", "5,6"].join(end);
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let rows: Vec<u64> =
                reader.records().map(|it| it.map_or(0, |record| row(&text, record.position()))).collect();
            assert_eq!(rows, [2, 4, 8], "{end:?}");
        }
    }

    #[test]
    fn marks_labels_and_guesses_give_the_same_text() {
        let utf16: Vec<u8> =
            [0xff, 0xfe].into_iter().chain("Café".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for (bytes, label) in [
            ("Café".as_bytes().to_vec(), None),
            ([b"\xef\xbb\xbf".as_slice(), "Café".as_bytes()].concat(), None),
            (utf16, None),
            (b"Caf\xe9".to_vec(), None),
            (b"Caf\xe9".to_vec(), Some("windows-1252")),
        ] {
            assert_eq!(decode(&bytes, label).map(|(text, _)| text), Ok("Café".to_owned()), "{bytes:?}");
        }
        let mixed = ["Zoë,Zoë\n".as_bytes(), b"Caf\xe9"].concat();
        assert!(decode(&mixed, None).is_err_and(|error| error.contains("line 2")));
        assert!(decode(&mixed, Some("windows-1252")).is_ok());
        assert!(decode(b"Caf\xe9", Some("utf-8")).is_err_and(|error| error.contains("UTF-8")));
        assert!(decode(b"a\nb\0", None).is_err_and(|error| error.contains("line 2")));
        assert!(decode(b"", Some("klingon")).is_err_and(|error| error.contains("klingon")));
    }
}
