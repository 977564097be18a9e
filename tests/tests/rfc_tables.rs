//! Checks the RFC tables in `docs/rfc/` against the code, the tests and the scripts: no requirement
//! of RFC 9293 is missing, none is invented, each is in one table once, and requirements that are
//! done are cited where the table says.

use std::collections::{BTreeMap, BTreeSet};

use portolan_tests::rfc_table::{
    Row, State, Table, all_citations, check_place, is_section, is_test, own_id, tables,
};
use portolan_tests::sources::{files_under, read, relative, root};

/// The requirements of RFC 9293, Appendix B: the kinds and their highest numbers. Each kind is
/// numbered from 1 without gaps.
const RFC_9293: [(&str, u32); 4] = [("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)];

/// The RFCs of TCP, each of which has a page.
const PAGES: [u32; 17] =
    [2018, 2883, 3168, 5681, 5682, 5961, 6298, 6528, 6582, 6675, 6937, 7323, 7413, 8985, 9293, 9406, 9438];

#[test]
fn no_page_is_missing() {
    let pages: BTreeSet<u32> = tables().iter().map(|table| table.rfc).collect();
    let missing: Vec<u32> = PAGES.into_iter().filter(|rfc| !pages.contains(rfc)).collect();
    assert!(missing.is_empty(), "docs/rfc/ has no page for {missing:?}");
}

#[test]
fn every_requirement_of_rfc_9293_stands_in_its_table() {
    let tables = tables();
    let table = tables.iter().find(|table| table.rfc == 9293).expect("docs/rfc/9293.md");
    let mut ids: BTreeSet<&str> = table.rows.iter().map(|row| row.id.as_str()).collect();
    for (kind, highest) in RFC_9293 {
        for number in 1..=highest {
            let id = format!("{kind}-{number}");
            assert!(ids.remove(id.as_str()), "{id} is missing from the table");
        }
    }
    assert!(ids.is_empty(), "not in RFC 9293, Appendix B: {ids:?}");
}

#[test]
fn an_id_stands_in_one_table_once() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (table, row) in tables().iter().flat_map(|table| table.rows.iter().map(move |row| (table, row))) {
        let at = at(table, row);
        if let Some(before) = seen.insert(row.id.clone(), at.clone()) {
            panic!("{} stands in {before} and again in {at}", row.id);
        }
    }
}

/// The name, heading and ids of each page match, and the index links to it.
#[test]
fn pages_are_of_the_rfc_that_they_name() {
    let index = read(&root().join("docs/rfc/README.md"));
    for table in tables() {
        let page = relative(&table.path);
        assert!(!table.rows.is_empty(), "{page} has no table");
        assert!(
            table.heading.starts_with(&format!("# RFC {}, ", table.rfc)),
            "{page} begins with `# RFC {}, TITLE`, not `{}`",
            table.rfc,
            table.heading
        );
        assert!(index.contains(&format!("({}.md)", table.rfc)), "docs/rfc/README.md does not link to {page}");
        for row in &table.rows {
            let at = at(&table, row);
            assert!(is_section(&row.section), "{at}: `{}` is no section", row.section);
            if table.rfc == 9293 {
                assert!(row.section.starts_with('3'), "{at}: the requirements stand in section 3");
            } else {
                assert_eq!(
                    own_id(&row.id),
                    Some((table.rfc, row.section.as_str())),
                    "{at}: the id of section {} is RFC{}-{}, with -a, -b if there are several",
                    row.section,
                    table.rfc,
                    row.section
                );
            }
        }
    }
}

#[test]
fn what_is_cited_exists() {
    let tables = tables();
    let known: BTreeSet<&str> =
        tables.iter().flat_map(|table| &table.rows).map(|row| row.id.as_str()).collect();
    let citations = all_citations();
    let unknown: Vec<String> = citations
        .iter()
        .filter(|citation| !known.contains(citation.id.as_str()))
        .map(|citation| format!("{}: no table has {}", citation.at, citation.id))
        .collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(!citations.is_empty(), "nothing in the code cites a requirement");
}

#[test]
fn what_is_done_is_where_the_table_says() {
    let mut wrong = Vec::new();
    for (table, row) in tables().iter().flat_map(|table| table.rows.iter().map(move |row| (table, row))) {
        if row.state == State::Done && !row.places.iter().any(|place| is_test(&row.id, place)) {
            wrong.push(format!("{}: done, but no test or script shows it", at(table, row)));
        }
        for place in &row.places {
            if let Err(why) = check_place(&row.id, place) {
                wrong.push(format!("{}: {why}", at(table, row)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// RFC 9293 §3.8.5 (SHLD-13): our own programs and examples are new applications.
#[test]
fn no_program_of_ours_sends_urgent_data() {
    let programs = files_under("examples", ".rs").into_iter().chain(files_under("tap-driver", ".rs"));
    let is_urgent = |text: String| text.contains("send_oob") || text.contains("SendFlags::OOB");
    let urgent: Vec<String> =
        programs.filter(|path| is_urgent(read(path))).map(|path| relative(&path)).collect();
    assert!(urgent.is_empty(), "{urgent:?}");
}

#[test]
fn departures_have_reasons_and_rows_have_words() {
    for (table, row) in tables().iter().flat_map(|table| table.rows.iter().map(move |row| (table, row))) {
        let at = at(table, row);
        assert!(row.requirement.len() >= 10, "{at}: what is required?");
        if let State::Deviates(reason) | State::Absent(reason) = &row.state {
            assert!(reason.split_whitespace().count() >= 2, "{at}: no reason for the departure");
        }
    }
}

/// Writes `docs/rfc/9293.md:21: MUST-1`.
fn at(table: &Table, row: &Row) -> String {
    format!("{}:{}: {}", relative(&table.path), row.line, row.id)
}
