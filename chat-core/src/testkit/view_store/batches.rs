//! Writing and reading batches: guarantee 1.

use super::{assert_moved, assert_view, assert_written, batch, commit, get, key, put, scan, view};
use crate::id::Checkpoint;
use crate::ports::{Direction, KeyRange, ViewGet, ViewId, ViewOp, ViewPage, ViewValues};
use crate::testkit::ViewHarness;

/// Guarantee 2: "a view that was never written has checkpoint zero".
pub async fn a_view_that_was_never_written_is_empty_at_zero(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let absent = view("chat/a", "timeline");
    assert_view(&*store, &absent, 0, &[]).await;
    let values = get(&*store, &absent, &["a", "b"]).await;
    assert_eq!(values, ViewValues { checkpoint: Checkpoint::ZERO, values: vec![None, None] });
}

/// Guarantee 1.
pub async fn a_batch_takes_effect_whole_with_its_checkpoint(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let ops = vec![put("b", "two"), put("a", "one"), put("c", "three")];
    commit(harness, &*store, batch(&name, 0, 7, ops)).await;
    let all: [(&str, &[u8]); 3] = [("a", b"one"), ("b", b"two"), ("c", b"three")];
    assert_view(&*store, &name, 7, &all).await;
    let ops = vec![ViewOp::Delete(key("a")), put("c", "3"), put("d", "four")];
    commit(harness, &*store, batch(&name, 7, 9, ops)).await;
    let all: [(&str, &[u8]); 3] = [("b", b"two"), ("c", b"3"), ("d", b"four")];
    assert_view(&*store, &name, 9, &all).await;
}

/// A projector may have nothing to say about an event.
pub async fn a_batch_without_changes_moves_the_checkpoint(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    commit(harness, &*store, batch(&name, 0, 3, vec![])).await;
    assert_view(&*store, &name, 3, &[]).await;
    let ops = vec![ViewOp::Delete(key("absent")), ViewOp::Clear];
    commit(harness, &*store, batch(&name, 3, 4, ops)).await;
    assert_view(&*store, &name, 4, &[]).await;
}

/// "In a batch, later ones win."
pub async fn later_changes_of_a_batch_win(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    commit(harness, &*store, batch(&name, 0, 1, vec![put("old", "x"), put("e", "x")])).await;
    let ops = vec![
        put("a", "1"),
        put("a", "2"),
        put("b", "1"),
        ViewOp::Delete(key("b")),
        ViewOp::Delete(key("c")),
        put("c", "1"),
        ViewOp::Delete(key("e")),
        put("e", "2"),
    ];
    commit(harness, &*store, batch(&name, 1, 2, ops)).await;
    let all: [(&str, &[u8]); 4] = [("a", b"2"), ("c", b"1"), ("e", b"2"), ("old", b"x")];
    assert_view(&*store, &name, 2, &all).await;
    let ops = vec![put("gone", "1"), ViewOp::Clear, put("a", "3"), put("new", "1")];
    commit(harness, &*store, batch(&name, 2, 3, ops)).await;
    assert_view(&*store, &name, 3, &[("a", b"3"), ("new", b"1")]).await;
    let ops = vec![put("a", "4"), ViewOp::Clear];
    commit(harness, &*store, batch(&name, 3, 4, ops)).await;
    assert_view(&*store, &name, 4, &[]).await;
}

/// "Removes every key", and none of another view (6).
pub async fn clear_removes_every_key_of_that_view(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let names = [("chat/a", "one"), ("chat/a", "two"), ("chat/b", "one")]
        .map(|(scope, projection)| view(scope, projection));
    for name in &names {
        commit(harness, &*store, batch(name, 0, 1, vec![put("a", "1"), put("z", "2")])).await;
    }
    commit(harness, &*store, batch(&names[0], 1, 2, vec![ViewOp::Clear])).await;
    assert_view(&*store, &names[0], 2, &[]).await;
    for name in &names[1..] {
        assert_view(&*store, name, 1, &[("a", b"1"), ("z", b"2")]).await;
    }
}

/// A batch is not bounded by what one statement of a database takes.
pub async fn a_batch_may_hold_thousands_of_changes(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let ops = (0..3_000).map(|n| put(&format!("key-{n:05}"), n.to_string())).collect();
    commit(harness, &*store, batch(&name, 0, 1, ops)).await;
    let range = KeyRange { start: Some(key("key-02500")), end: None };
    let page = scan(&*store, &name, &range, Direction::Forward, 1_000).await;
    assert_eq!((page.entries.len(), page.finished), (500, true));
    assert_eq!(&*page.entries[499].1, b"2999");
    let ops = (0..3_000).map(|n| ViewOp::Delete(key(&format!("key-{n:05}")))).collect();
    commit(harness, &*store, batch(&name, 1, 2, ops)).await;
    assert_view(&*store, &name, 2, &[]).await;
}

/// Guarantee 1: "one that fails leaves the others untouched".
pub async fn batches_of_one_call_stand_alone(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let names = ["a", "b", "c", "d"].map(|scope| view(scope, "timeline"));
    let batches = [
        batch(&names[0], 0, 1, vec![put("k", "1")]),
        batch(&names[1], 5, 6, vec![put("k", "2")]),
        batch(&names[2], 0, 1, vec![put("k", "3")]),
        batch(&names[0], 9, 10, vec![ViewOp::Clear]),
        batch(&names[3], 0, 4, vec![put("k", "4")]),
    ];
    let results = store.commit(&batches).await;
    assert_eq!(results.len(), 5, "one answer for each batch");
    for index in [0, 2, 4] {
        assert_written(harness.answers(), &results[index]);
    }
    assert_moved(&results[1], &names[1], 5, 0);
    assert_moved(&results[3], &names[0], 9, 1);
    assert_view(&*store, &names[0], 1, &[("k", b"1")]).await;
    assert_view(&*store, &names[1], 0, &[]).await;
    assert_view(&*store, &names[2], 1, &[("k", b"3")]).await;
    assert_view(&*store, &names[3], 4, &[("k", b"4")]).await;
}

/// They are carried out one after the other.
pub async fn batches_of_one_call_to_one_view_follow_each_other(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let batches: Vec<_> = (0..20)
        .map(|n| {
            batch(&name, n, n + 1, vec![put("last", n.to_string()), put(&format!("k{n:02}"), "x")])
        })
        .collect();
    for result in store.commit(&batches).await {
        assert_written(harness.answers(), &result);
    }
    let values = get(&*store, &name, &["last", "k00", "k19"]).await;
    assert_eq!(values.checkpoint, Checkpoint(20));
    assert_eq!(values.values[0].as_deref(), Some(b"19".as_slice()));
    assert!(values.values.iter().all(Option::is_some), "{values:?}");
}

/// "One call is one round trip …, whatever the number of views."
pub async fn a_call_may_hold_hundreds_of_views(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let names: Vec<_> = (0..400).map(|n| view(&format!("user/{n}"), "chats")).collect();
    let batches: Vec<_> = names
        .iter()
        .zip(1..)
        .map(|(name, n)| batch(name, 0, n, vec![put("k", n.to_string())]))
        .collect();
    for result in store.commit(&batches).await {
        assert_written(harness.answers(), &result);
    }
    // Backwards, to see that the order is the one asked.
    let gets: Vec<_> = names
        .iter()
        .rev()
        .map(|name| ViewGet { view: name.clone(), keys: vec![key("k"), key("absent")] })
        .collect();
    let values = store.get(&gets).await.expect("get");
    assert_eq!(values.len(), 400);
    for (values, n) in values.iter().zip((1..=400_u64).rev()) {
        let expected = vec![Some(n.to_string().as_bytes().into()), None];
        assert_eq!(*values, ViewValues { checkpoint: Checkpoint(n), values: expected });
    }
}

/// Values are bytes; none at all is a value.
pub async fn values_are_kept_byte_for_byte(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let name = view("chat/a", "timeline");
    let all: Vec<u8> = (0..=255).collect();
    let large = all.repeat(1_024);
    let values: [(&str, &[u8]); 5] = [
        ("all", &all),
        ("empty", b""),
        ("large", &large),
        ("text", "é 日本 😀".as_bytes()),
        ("zero", b"\0"),
    ];
    let ops = values.iter().map(|(key, value)| put(key, value)).collect();
    commit(harness, &*store, batch(&name, 0, 1, ops)).await;
    for handle in [&store, &harness.open().await] {
        assert_view(&**handle, &name, 1, &values).await;
        for (key, value) in values {
            let found = get(&**handle, &name, &[key]).await.values;
            assert_eq!(found[0].as_deref(), Some(value), "{key}");
        }
    }
}

/// `get`: "in the order asked"; no keys give the checkpoint alone.
pub async fn keys_are_read_in_the_order_asked(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let (one, two) = (view("chat/a", "one"), view("chat/a", "two"));
    commit(harness, &*store, batch(&one, 0, 3, vec![put("a", "1"), put("b", "2")])).await;
    commit(harness, &*store, batch(&two, 0, 4, vec![put("a", "3")])).await;
    let get = |view: &ViewId, keys: &[&str]| ViewGet {
        view: view.clone(),
        keys: keys.iter().map(|name| key(name)).collect(),
    };
    let gets = [
        get(&two, &["b", "a"]),
        get(&one, &["b", "x", "a", "b"]),
        get(&one, &[]),
        get(&view("chat/a", "three"), &[]),
        get(&two, &["a"]),
    ];
    let value = |text: &str| Some(text.as_bytes().into());
    let expected = [
        (4, vec![None, value("3")]),
        (3, vec![value("2"), None, value("1"), value("2")]),
        (3, vec![]),
        (0, vec![]),
        (4, vec![value("3")]),
    ];
    let expected =
        expected.map(|(n, values)| ViewValues { checkpoint: Checkpoint(n), values }).to_vec();
    assert_eq!(store.get(&gets).await.expect("get"), expected);
}

/// Nothing asked, nothing answered.
pub async fn empty_calls_have_no_answers(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    assert!(store.get(&[]).await.expect("get").is_empty());
    assert!(store.commit(&[]).await.is_empty());
    let page = scan(&*store, &view("a", "b"), &KeyRange::all(), Direction::Backward, 5).await;
    let checkpoint = Checkpoint::ZERO;
    assert_eq!(page, ViewPage { checkpoint, entries: vec![], finished: true });
}
