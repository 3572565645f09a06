//! Ranges and their order: guarantee 3.

use super::{batch, commit, key, put, scan, view};
use crate::id::ViewKey;
use crate::ports::{Direction, KeyRange, ViewId, ViewPage, ViewStore};
use crate::testkit::ViewHarness;

fn keys(page: &ViewPage) -> Vec<&str> {
    page.entries.iter().map(|(key, _)| key.as_str()).collect()
}

/// Guarantee 3: "keys sort by their bytes", whatever a collation thinks.
pub async fn keys_sort_by_their_bytes(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let longest = "n".repeat(ViewKey::MAX_BYTES);
    let mut all = vec![
        "a",
        "A",
        "b",
        "B",
        "a ",
        " a",
        "aa",
        "ab",
        "a/b",
        "a-b",
        "a_b",
        "a%b",
        "10",
        "2",
        "é",
        "e\u{301}",
        "z",
        "ß",
        "ss",
        "ı",
        "İ",
        "日本",
        "😀",
        "\u{ffff}",
        "\u{10000}",
        "~",
        "0",
        &longest,
    ];
    let ops = all.iter().map(|name| put(name, name)).collect();
    commit(harness, &*store, batch(&name, 0, 1, ops)).await;
    all.sort_unstable();
    let page = scan(&*store, &name, &KeyRange::all(), Direction::Forward, 1_000).await;
    assert_eq!(keys(&page), all);
    assert!(page.entries.iter().all(|(key, value)| key.as_str().as_bytes() == &**value));
    let page = scan(&*store, &name, &KeyRange::all(), Direction::Backward, 1_000).await;
    all.reverse();
    assert_eq!(keys(&page), all);
    for name_of_key in &all {
        let range = KeyRange { start: Some(key(name_of_key)), end: None };
        let page = scan(&*store, &name, &range, Direction::Forward, 1).await;
        assert_eq!(keys(&page), [*name_of_key], "a range that starts with it");
    }
}

async fn ten(harness: &dyn ViewHarness, store: &dyn ViewStore) -> ViewId {
    let name = view("chat/a", "timeline");
    let ops = (0..10).map(|n| put(&format!("k{n}"), n.to_string())).collect();
    commit(harness, store, batch(&name, 0, 4, ops)).await;
    // Neighbours that must not be seen.
    for other in [view("chat/a", "timelin"), view("chat/a", "timelinf"), view("chat", "timeline")] {
        commit(harness, store, batch(&other, 0, 5, vec![put("k1", "no"), put("k11", "no")])).await;
    }
    name
}

/// Guarantee 3: "scans give each key of the range once, either way".
pub async fn ranges_are_read_both_ways_with_every_limit(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = ten(harness, &*store).await;
    let all: Vec<ViewKey> = (0..10).map(|n| key(&format!("k{n}"))).collect();
    let ends = [None, Some("a"), Some("k0"), Some("k3"), Some("k35"), Some("k9"), Some("z")];
    for (start, end) in ends.iter().flat_map(|start| ends.iter().map(move |end| (start, end))) {
        let range = KeyRange { start: start.map(key), end: end.map(key) };
        for direction in [Direction::Forward, Direction::Backward] {
            let mut within: Vec<_> = all.iter().filter(|key| range.contains(key)).collect();
            if direction == Direction::Backward {
                within.reverse();
            }
            for limit in [1, 3, 7, 10, 11] {
                let page = scan(&*store, &name, &range, direction, limit).await;
                let found: Vec<_> = page.entries.iter().map(|(key, _)| key).collect();
                let shown = &within[..limit.min(within.len())];
                assert_eq!(found, shown, "{range:?}, {direction:?}, {limit}");
                let finished = within.len() <= limit;
                assert_eq!(page.finished, finished, "{range:?}, {direction:?}, {limit}");
                assert_eq!(page.checkpoint.0, 4);
            }
        }
    }
}

/// A caller's mistake that asks for nothing.
pub async fn a_range_that_ends_before_it_starts_is_empty(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = ten(harness, &*store).await;
    for (start, end) in [("k5", "k5"), ("k5", "k4"), ("z", "a")] {
        let range = KeyRange { start: Some(key(start)), end: Some(key(end)) };
        for direction in [Direction::Forward, Direction::Backward] {
            let page = scan(&*store, &name, &range, direction, 5).await;
            assert!(page.entries.is_empty() && page.finished, "{page:?}");
        }
    }
}

/// `scan`: "values outside are brought in".
pub async fn limits_of_a_scan_are_brought_in(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let ops = (0..1_001).map(|n| put(&format!("k{n:04}"), "x")).collect();
    commit(harness, &*store, batch(&name, 0, 1, ops)).await;
    for (limit, shown) in [(0, 1), (1, 1), (1_000, 1_000), (1_001, 1_000), (usize::MAX, 1_000)] {
        let page = scan(&*store, &name, &KeyRange::all(), Direction::Backward, limit).await;
        assert_eq!((page.entries.len(), page.finished), (shown, false), "a limit of {limit}");
        assert_eq!(page.entries[0].0, key("k1000"));
    }
}

/// From the last key of a page to the next page, as the history of a chat is read.
pub async fn a_view_can_be_read_page_by_page(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let all: Vec<_> = (0..100).map(|n| format!("k{n:03}")).collect();
    let ops = all.iter().map(|name| put(name, name)).collect();
    commit(harness, &*store, batch(&name, 0, 1, ops)).await;
    for limit in [1, 7, 25, 100] {
        let mut seen: Vec<String> = Vec::new();
        let mut range = KeyRange::all();
        loop {
            let page = scan(&*store, &name, &range, Direction::Backward, limit).await;
            seen.extend(page.entries.iter().map(|(key, _)| key.as_str().to_owned()));
            range.end = page.entries.last().map(|(key, _)| key.clone());
            if page.finished {
                break;
            }
        }
        seen.reverse();
        assert_eq!(seen, all, "pages of {limit}");
    }
}
