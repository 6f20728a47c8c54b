//! Bytes into text: the encodings that exports come in.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Decodes a file: by its byte-order mark (UTF-8, UTF-16), else by `label`, else as UTF-8 where it is, else as
/// Windows-1252, which any bytes are, but for those that are UTF-8 in most places. Gives the text and the encoding's name.
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
                    "line {line} holds bytes that are not UTF-8, and other lines hold letters that are: mend that line, or, with a \
                     mapping, say in it which encoding the file has"
                ))
            }
            false => whole(WINDOWS_1252, bytes),
        },
    }
}

/// The same, of a file in which nobody can mend a line: what is not UTF-8 among what is becomes a sign of its own, and the
/// second value says where.
///
/// # Errors
/// As [`decode`].
pub fn decode_all(bytes: &[u8]) -> Result<(String, Option<String>), String> {
    match std::str::from_utf8(bytes) {
        Err(error) if Encoding::for_bom(bytes).is_none() && mixed(bytes) && !bytes.contains(&0) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            let text = String::from_utf8_lossy(bytes).into_owned();
            Ok((text, Some(format!("line {line} holds bytes that are not UTF-8; they are read as \u{fffd}"))))
        }
        _ => decode(bytes, None).map(|(text, _)| (text, None)),
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

/// Whether a cell holds what a quotation mark that is missing, or one too many, puts there: rows behind its own, with the
/// separators that they have in a table of so many columns. Lines alone, as of a note, are none.
#[must_use]
pub fn swallowed(cell: &str, columns: usize, separator: char) -> bool {
    let lines = cell.trim().lines().skip(1).filter(|line| !line.trim().is_empty()).count();
    lines > 0 && cell.matches(separator).count() >= lines * columns.saturating_sub(1).max(1)
}

/// What is said of it.
pub const SWALLOWED: &str = "the cell holds whole rows: is a quotation mark missing here, or one too many?";

fn whole(encoding: &'static Encoding, bytes: &[u8]) -> Result<(String, &'static str), String> {
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(|text| (text.into_owned(), encoding.name()))
        .ok_or_else(|| format!("holds bytes that are not {}; say which encoding it has", encoding.name()))
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_all, row, swallowed};

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
        let all = decode_all(&mixed).map(|(text, note)| (text, note.is_some()));
        assert_eq!(all, Ok(("Zoë,Zoë\nCaf\u{fffd}".to_owned(), true)));
        assert_eq!(decode_all(b"Caf\xe9"), Ok(("Café".to_owned(), None)));
        assert!(decode(b"Caf\xe9", Some("utf-8")).is_err_and(|error| error.contains("UTF-8")));
        assert!(decode(b"a\nb\0", None).is_err_and(|error| error.contains("line 2")));
        assert!(decode(b"", Some("klingon")).is_err_and(|error| error.contains("klingon")));
    }

    #[test]
    fn rows_in_a_cell_are_seen_and_lines_in_one_are_none() {
        let rows = "ada@x.org,Current\nS2,Bob,bob@x.org\"";
        assert!(swallowed(rows, 4, ','));
        assert!(swallowed("a,b,c\n1,2,3\n1,2,3\n1,2", 3, ','));
        for note in ["Bring laptop, charger\nRoom changed", "A-101,\nA-102", "one\ntwo\n", "a,b,c,d,e"] {
            assert!(!swallowed(note, 4, ','), "{note:?}");
        }
    }
}
