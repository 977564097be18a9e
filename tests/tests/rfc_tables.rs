//! Holds the RFC tables of `docs/rfc/` against the code and the tests: no requirement is missing, none is invented, and
//! what is said to be done is cited where the table says.

use std::collections::BTreeMap;

use portolan_tests::sources::{defines_function, is_word, read, relative, root, rust_files};

/// The requirements of RFC 9293, Appendix B: kind and the highest number. Each kind is numbered from 1 without a gap.
const RFC_9293: [(&str, u32); 4] = [("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)];

/// One row of a table.
#[derive(Debug)]
struct Row {
    id: String,
    section: String,
    requirement: String,
    state: State,
    places: Vec<Place>,
    line: usize,
}

/// The three kinds of state.
#[derive(Debug, PartialEq)]
enum State {
    Done,
    Deviates(String),
    Absent(String),
}

/// Where a row says that its requirement is met.
#[derive(Debug)]
struct Place {
    file: String,
    function: Option<String>,
}

#[test]
fn every_requirement_stands_in_the_table_once() {
    let rows = rows();
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for row in &rows {
        lines.entry(&row.id).or_default().push(row.line);
    }
    for (kind, highest) in RFC_9293 {
        for number in 1..=highest {
            let id = format!("{kind}-{number}");
            match lines.remove(id.as_str()).as_deref() {
                Some([_]) => {}
                Some(lines) => panic!("{id} stands in lines {lines:?} of the table"),
                None => panic!("{id} is missing from the table"),
            }
        }
    }
    assert!(lines.is_empty(), "not in RFC 9293, Appendix B: {lines:?}");
}

#[test]
fn what_is_cited_exists() {
    let known: Vec<String> = rows().into_iter().map(|row| row.id).collect();
    let mut cited = 0;
    for path in rust_files() {
        // This file holds examples of ids that do not exist.
        if path.ends_with("tests/tests/rfc_tables.rs") {
            continue;
        }
        for (line, text) in read(&path).lines().enumerate() {
            for id in citations(text) {
                cited += 1;
                assert!(known.contains(&id), "{}:{}: RFC 9293 has no {id}", relative(&path), line + 1);
            }
        }
    }
    assert!(cited > 0, "nothing in the code cites a requirement");
}

#[test]
fn what_is_done_is_where_the_table_says() {
    let mut wrong = Vec::new();
    for row in rows() {
        if row.state == State::Done && row.places.is_empty() {
            wrong.push(format!("line {}: {} is done, but where?", row.line, row.id));
        }
        for place in &row.places {
            if let Err(why) = check_place(&row.id, place) {
                wrong.push(format!("line {}: {}: {why}", row.line, row.id));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/rfc/9293.md:\n{}", wrong.join("\n"));
}

#[test]
fn departures_have_reasons_and_rows_have_words() {
    for row in rows() {
        let at = format!("docs/rfc/9293.md:{}: {}", row.line, row.id);
        assert!(
            row.section.split('.').all(|part| part.parse::<u8>().is_ok()),
            "{at}: section {}",
            row.section
        );
        assert!(row.section.starts_with('3'), "{at}: the requirements stand in section 3");
        assert!(row.requirement.len() >= 10, "{at}: what is required?");
        if let State::Deviates(reason) | State::Absent(reason) = &row.state {
            assert!(reason.split_whitespace().count() >= 2, "{at}: no reason for the departure");
        }
    }
}

#[test]
fn ids_are_read_as_words() {
    assert_eq!(citations("(MUST-1, SHLD-29) and MAY-7."), ["MUST-1", "SHLD-29", "MAY-7"]);
    assert_eq!(citations("MUST-123"), ["MUST-123"]);
    assert!(citations("XMUST-1 MUST-1a MUST- MUST MUSTY-1").is_empty());
}

#[test]
fn a_bad_row_is_found() {
    assert!(parse_row("| MUST-1 | 3.1 | words | perhaps | |", 1).is_err());
    assert!(parse_row("| MUST-1 | 3.1 | words | done |", 1).is_err(), "a column is missing");
    assert!(parse_row("| MUST-1 | 3.1 | words | deviates | |", 1).is_err(), "a reason is missing");
    let row = parse_row("| MUST-1 | 3.1 | words | done | `a.rs`, `b.rs::c` |", 1).expect("a good row");
    assert_eq!(row.places.len(), 2);
    assert_eq!(row.places[1].function.as_deref(), Some("c"));
    let nowhere = Place { file: "no/such/file.rs".into(), function: None };
    assert!(check_place("MUST-1", &nowhere).is_err());
    let no_function =
        Place { file: "tests/src/sources.rs".into(), function: Some("no_such_function".into()) };
    assert!(check_place("MUST-1", &no_function).is_err());
    let not_cited = Place { file: "tests/src/sources.rs".into(), function: None };
    assert!(check_place("MUST-1", &not_cited).is_err());
}

/// The file must cite the requirement, or must have the function.
fn check_place(id: &str, place: &Place) -> Result<(), String> {
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

/// The rows of `docs/rfc/9293.md`.
fn rows() -> Vec<Row> {
    let text = read(&root().join("docs/rfc/9293.md"));
    let rows: Vec<Row> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| id |"))
        .map(|(index, line)| parse_row(line, index + 1).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect();
    assert!(!rows.is_empty(), "the table is empty");
    rows
}

fn parse_row(line: &str, number: usize) -> Result<Row, String> {
    let cells: Vec<&str> = line.trim().trim_start_matches('|').split('|').map(str::trim).collect();
    let [id, section, requirement, state, places, ""] = cells[..] else {
        return Err(format!("line {number} does not have five columns"));
    };
    let state = match state.split_once(": ") {
        None if state == "done" => State::Done,
        Some(("deviates", reason)) => State::Deviates(reason.to_string()),
        Some(("absent", reason)) => State::Absent(reason.to_string()),
        _ => return Err(format!("line {number}: the state is done, deviates: why, or absent: why")),
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
    Ok(Row {
        id: id.into(),
        section: section.into(),
        requirement: requirement.into(),
        state,
        places,
        line: number,
    })
}

/// The ids of requirements in a text: `MUST-1` as a word of its own.
fn citations(text: &str) -> Vec<String> {
    text.split(|c: char| !is_word(c) && c != '-')
        .filter(|word| {
            word.split_once('-').is_some_and(|(kind, number)| {
                RFC_9293.iter().any(|&(known, _)| known == kind)
                    && !number.is_empty()
                    && number.chars().all(|c| c.is_ascii_digit())
            })
        })
        .map(str::to_string)
        .collect()
}
