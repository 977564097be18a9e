use super::*;

/// Tries sizes until the search is over, on a path that takes segments of `path` bytes. Returns the
/// sizes.
fn search(low: u16, high: u16, path: u16) -> (alloc::vec::Vec<u16>, u16) {
    let mut search = MtuSearch::new(low, high, Instant::ZERO);
    let mut tried = alloc::vec::Vec::new();
    while let Some(size) = search.next_size() {
        assert!(size > search.low && size <= search.high, "{size}: {search:?}");
        tried.push(size);
        if size <= path { search.on_success(size) } else { search.on_failure(size) }
    }
    (tried, search.low)
}

/// RFC 4821 §7.3: the search ends near the path's size, and an outage that looked like a black hole
/// costs one probe.
#[test]
fn the_search_finds_what_the_path_takes() {
    assert_eq!(search(1024, 1460, 1460), ([1460].to_vec(), 1460));
    let (tried, found) = search(1024, 1460, 1400);
    assert_eq!(tried, [1460, 1242, 1351, 1405, 1378, 1391, 1398]);
    assert_eq!(found, 1398);
    for path in 512..=9000 {
        let (tried, found) = search(512, 8960, path);
        assert!(tried.len() <= 12, "{path}: {tried:?}");
        assert!(found <= path && path.min(8960) - found < PRECISION, "{path}: {found}");
    }
}

#[test]
fn a_search_without_room_is_over() {
    assert_eq!(MtuSearch::new(1460, 1460, Instant::ZERO).next_size(), None);
    assert_eq!(MtuSearch::new(1460, 1000, Instant::ZERO).next_size(), None);
    let mut nearly = MtuSearch::new(1455, 1460, Instant::ZERO);
    assert_eq!(nearly.next_size(), Some(1460));
    nearly.on_failure(1460);
    assert_eq!(nearly.next_size(), None);
}
