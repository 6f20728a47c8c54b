//! The solution file: when and where each class is held, and who attends.
//!
//! Used by `itc2019`, which checks it against the problem.

use std::collections::HashSet;

use super::Fault;
use super::xml::File;

/// What a solution file says.
#[derive(Default)]
pub(super) struct Solution {
    pub(super) name: String,
    /// Byte of the file.
    pub(super) at: usize,
    pub(super) classes: Vec<Placed>,
}

/// A class with its time and place.
pub(super) struct Placed {
    pub(super) id: String,
    /// Byte of the file.
    pub(super) at: usize,
    pub(super) days: String,
    pub(super) start: u32,
    pub(super) weeks: String,
    pub(super) room: Option<String>,
    /// Ids, repeated as they are, each with its byte of the file.
    pub(super) students: Vec<(String, usize)>,
}

/// Reads a solution file.
pub(super) fn read(file: &File) -> Result<Solution, Fault> {
    let mut solution = Solution::default();
    let mut seen = HashSet::new();
    file.each("solution", |around, tag| {
        let around: Vec<&str> = around.iter().map(String::as_str).collect();
        match (around.as_slice(), tag.name) {
            ([], _) => (solution.name, solution.at) = (tag.text("name")?, tag.at),
            (["solution"], "class") => {
                let id = tag.id()?;
                if !seen.insert(id.clone()) {
                    return Err(tag.wrong("this id is there twice"));
                }
                solution.classes.push(Placed {
                    id,
                    at: tag.at,
                    days: tag.bits("days", None)?,
                    start: tag.number("start")?,
                    weeks: tag.bits("weeks", None)?,
                    room: tag.attribute("room")?,
                    students: Vec::new(),
                });
            }
            (["solution", "class"], "student") => {
                let student = (tag.id()?, tag.at);
                if let Some(class) = solution.classes.last_mut() {
                    class.students.push(student);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(solution)
}
