//! The tables in `docs/rfc/`, and the citations of their ids. `docs/rfc/README.md` describes the
//! format of a table.

use std::path::PathBuf;

use crate::sources::{defines_function, files_under, is_word, read, relative, root, rust_files};

/// The kinds in the ids of RFC 9293, Appendix B.
pub const RFC_9293_KINDS: [&str; 4] = ["MUST", "SHLD", "MAY", "REC"];

/// The page of one RFC.
#[derive(Debug)]
pub struct Table {
    /// The RFC's number.
    pub rfc: u32,
    /// The page.
    pub path: PathBuf,
    /// The first line: `# RFC 9293, Transmission Control Protocol`.
    pub heading: String,
    /// The requirements.
    pub rows: Vec<Row>,
}

/// One row of a table.
#[derive(Debug)]
pub struct Row {
    /// `MUST-1` for RFC 9293, `RFC6298-5.3-a` for another RFC.
    pub id: String,
    /// The section of the RFC.
    pub section: String,
    /// What is required, in our words.
    pub requirement: String,
    /// What Portolan does.
    pub state: State,
    /// The places of code and tests.
    pub places: Vec<Place>,
    /// The line number in the page.
    pub line: usize,
}

/// The three kinds of state.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// It is met.
    Done,
    /// Portolan does something else, for this reason.
    Deviates(String),
    /// Portolan does not implement it, for this reason.
    Absent(String),
}

/// A place where a requirement is met, according to its row.
#[derive(Debug)]
pub struct Place {
    /// The path from the root of the repository.
    pub file: String,
    /// The function, in Rust files.
    pub function: Option<String>,
}

/// An id in code, in a test or in a script.
#[derive(Debug)]
pub struct Citation {
    /// The id.
    pub id: String,
    /// `stack/src/tcp/rtt.rs:12`
    pub at: String,
}

/// Every page of `docs/rfc/` whose name is a number, in their order.
///
/// # Panics
///
/// If a page cannot be parsed: the message names the line and what is wrong with it.
pub fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = files_under("docs/rfc", ".md")
        .into_iter()
        .filter_map(|path| {
            let rfc = path.file_stem()?.to_str()?.parse().ok()?;
            let page = relative(&path);
            let text = read(&path);
            let rows = rows(&text).unwrap_or_else(|why| panic!("{page}:{why}"));
            let heading = text.lines().next().unwrap_or_default().to_string();
            Some(Table { rfc, path, heading, rows })
        })
        .collect();
    tables.sort_by_key(|table| table.rfc);
    tables
}

/// All citations of ids, in Rust sources and scripts.
pub fn all_citations() -> Vec<Citation> {
    let mut files = rust_files();
    files.extend(files_under("tests/scripts", ".txt"));
    let mut found = Vec::new();
    for path in files {
        // These two contain examples of ids that do not exist.
        if path.ends_with("tests/src/rfc_table.rs") || path.ends_with("tests/tests/rfc_tables.rs") {
            continue;
        }
        for (index, line) in read(&path).lines().enumerate() {
            for id in citations(line) {
                found.push(Citation { id, at: format!("{}:{}", relative(&path), index + 1) });
            }
        }
    }
    found
}

/// Checks that the file cites the requirement, or has the function.
pub fn check_place(id: &str, place: &Place) -> Result<(), String> {
    let path = root().join(&place.file);
    if !path.is_file() {
        return Err(format!("there is no file {}", place.file));
    }
    let source = read(&path);
    match &place.function {
        Some(function) if !defines_function(&source, function) => {
            Err(format!("{} has no function {function}", place.file))
        }
        None if !citations(&source).iter().any(|cited| cited == id) => {
            Err(format!("{} does not cite it", place.file))
        }
        _ => Ok(()),
    }
}

/// Whether a place is a test: a script, a function in a file or module of tests, or such a file or
/// module that cites the requirement.
pub fn is_test(id: &str, place: &Place) -> bool {
    let file = place.file.as_str();
    if file.ends_with(".txt") {
        return true;
    }
    let source = read(&root().join(file));
    let is_file_of_tests = file.ends_with("/tests.rs") || file.contains("/tests/");
    let tests = if is_file_of_tests {
        source.as_str()
    } else {
        source.split_once("#[cfg(test)]\nmod tests {").map_or("", |(_, tests)| tests)
    };
    match &place.function {
        Some(function) => defines_function(tests, function),
        None => citations(tests).iter().any(|cited| cited == id),
    }
}

/// The ids of requirements in a text, each a separate word: `MUST-1`, `RFC6298-5.3`,
/// `RFC6298-5.3-a`.
pub fn citations(text: &str) -> Vec<String> {
    text.split(|c: char| !is_word(c) && c != '-' && c != '.')
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_numbered_id(word) || own_id(word).is_some())
        .map(str::to_string)
        .collect()
}

/// For an id that we made up: the number of the RFC and the section.
pub fn own_id(id: &str) -> Option<(u32, &str)> {
    let mut parts = id.strip_prefix("RFC")?.split('-');
    let rfc = parts.next().filter(|rfc| is_number(rfc))?.parse().ok()?;
    let section = parts.next().filter(|section| is_section(section))?;
    let letter = parts.next().is_none_or(|letter| matches!(letter.as_bytes(), [b'a'..=b'z']));
    (letter && parts.next().is_none()).then_some((rfc, section))
}

/// `3.8.6.1`, or `A.2` of an appendix.
pub fn is_section(section: &str) -> bool {
    let mut parts = section.split('.');
    let first = parts.next().unwrap_or_default();
    let is_appendix = matches!(first.as_bytes(), [b'A'..=b'Z']);
    (is_appendix || is_number(first)) && parts.all(is_number)
}

/// Whether it is an id in the form of RFC 9293: `MUST-1`.
fn is_numbered_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(kind, number)| RFC_9293_KINDS.contains(&kind) && is_number(number))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn rows(text: &str) -> Result<Vec<Row>, String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| id |"))
        .map(|(index, line)| {
            parse_row(line, index + 1).map_err(|why| format!("{}: {why}: {line}", index + 1))
        })
        .collect()
}

fn parse_row(row: &str, line: usize) -> Result<Row, String> {
    let cells: Vec<&str> = row.trim().trim_start_matches('|').split('|').map(str::trim).collect();
    let [id, section, requirement, state, places, ""] = cells[..] else {
        return Err("not five columns".into());
    };
    let state = match state.split_once(": ") {
        None if state == "done" => State::Done,
        Some(("deviates", reason)) => State::Deviates(reason.to_string()),
        Some(("absent", reason)) => State::Absent(reason.to_string()),
        _ => return Err("the state is done, deviates: why, or absent: why".into()),
    };
    let places = places
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|place| match place.split_once("::") {
            Some((file, function)) => Place { file: file.into(), function: Some(function.into()) },
            None => Place { file: place.into(), function: None },
        })
        .collect();
    Ok(Row { id: id.into(), section: section.into(), requirement: requirement.into(), state, places, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_words() {
        assert_eq!(citations("(MUST-1, SHLD-29) and MAY-7."), ["MUST-1", "SHLD-29", "MAY-7"]);
        assert_eq!(citations("MUST-123"), ["MUST-123"]);
        assert!(citations("XMUST-1 MUST-1a MUST- MUST MUSTY-1").is_empty());
        assert_eq!(
            citations("RFC6298-5.3, (RFC6298-5.3-b); RFC7323-A.2. RFC2018-4"),
            ["RFC6298-5.3", "RFC6298-5.3-b", "RFC7323-A.2", "RFC2018-4"]
        );
        assert!(
            citations("RFC 6298 RFC6298 RFC6298- RFC6298-5.3-bc RFC-9293 RFC6298-x RFC6298-5-a-b").is_empty()
        );
    }

    #[test]
    fn our_ids_say_where_they_come_from() {
        assert_eq!(own_id("RFC6298-5.3-a"), Some((6298, "5.3")));
        assert_eq!(own_id("RFC7323-A.2"), Some((7323, "A.2")));
        assert_eq!(own_id("MUST-1"), None);
    }

    #[test]
    fn a_bad_row_is_found() {
        assert!(parse_row("| MUST-1 | 3.1 | words | perhaps | |", 1).is_err());
        assert!(parse_row("| MUST-1 | 3.1 | words | done |", 1).is_err(), "a column is missing");
        assert!(parse_row("| MUST-1 | 3.1 | words | deviates | |", 1).is_err(), "a reason is missing");
        let row = parse_row("| MUST-1 | 3.1 | words | done | `a.rs`, `b.rs::c` |", 1).expect("a good row");
        assert_eq!(row.places.len(), 2);
        assert_eq!(row.places[1].function.as_deref(), Some("c"));
    }

    #[test]
    fn a_bad_place_is_found() {
        let place = |file: &str, function: Option<&str>| Place {
            file: file.into(),
            function: function.map(str::to_string),
        };
        assert!(check_place("MUST-1", &place("no/such/file.rs", None)).is_err());
        assert!(check_place("MUST-1", &place("tests/src/sources.rs", Some("no_such_function"))).is_err());
        assert!(check_place("MUST-1", &place("tests/src/sources.rs", None)).is_err(), "it cites nothing");
        assert!(check_place("MUST-1", &place("tests/src/sources.rs", Some("root"))).is_ok());
    }

    #[test]
    fn code_is_no_test() {
        let place = |file: &str, function: Option<&str>| Place {
            file: file.into(),
            function: function.map(str::to_string),
        };
        let in_sources = |function| is_test("MUST-1", &place("tests/src/sources.rs", Some(function)));
        assert!(!in_sources("root") && in_sources("this_file_is_among_the_sources"));
        assert!(is_test("MUST-1", &place("tests/tests/rfc_tables.rs", Some("no_page_is_missing"))));
        assert!(!is_test("MUST-1", &place("tests/src/sources.rs", None)), "it cites nothing");
    }
}
