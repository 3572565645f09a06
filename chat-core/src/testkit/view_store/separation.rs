//! Views, namespaces and handles: guarantees 5 and 6.

use super::{assert_moved, assert_view, batch, commit, put, view};
use crate::id::{Namespace, Scope};
use crate::testkit::ViewHarness;

/// Guarantee 6: also where names put together would be the same, or a collation thinks so.
pub async fn views_are_told_apart_by_their_bytes(harness: &dyn ViewHarness) {
    let store = harness.open().await;
    let longest = ["x", "y"].map(|end| "n".repeat(Scope::MAX_BYTES - 1) + end);
    let names = [
        ("a", "bc"),
        ("ab", "c"),
        ("a/b", "c"),
        ("a:b", "c"),
        ("a", "b-c"),
        ("a", "b_c"),
        ("A", "bc"),
        ("a", "BC"),
        ("a ", "bc"),
        (" a", "bc"),
        ("é", "bc"),
        ("e\u{301}", "bc"),
        ("{a}", "bc"),
        ("%", "bc"),
        ("'", "bc"),
        (&longest[0], "bc"),
        (&longest[1], "bc"),
    ]
    .map(|(scope, projection)| view(scope, projection));
    for (n, name) in (1..).zip(&names) {
        let value = n.to_string();
        commit(harness, &*store, batch(name, 0, n, vec![put("k", &value), put(&value, "x")])).await;
    }
    for (n, name) in (1_u64..).zip(&names) {
        let value = n.to_string();
        assert_view(&*store, name, n, &[(&value, b"x"), ("k", value.as_bytes())]).await;
    }
}

/// Guarantee 6.
pub async fn namespaces_of_views_never_see_each_other(harness: &dyn ViewHarness) {
    let namespace = |name| Namespace::new(name).expect("a name within the rules");
    let home = harness.open().await;
    let one = harness.open_namespace(&namespace("one")).await;
    let two = harness.open_namespace(&namespace("one_1234567890_abcdefghi")).await;
    let name = view("chat/a", "timeline");
    for (n, store) in (1..).zip([&home, &one, &two]) {
        assert_view(&**store, &name, 0, &[]).await;
        commit(harness, &**store, batch(&name, 0, n, vec![put("k", n.to_string())])).await;
    }
    for (n, store) in (1_u64..).zip([&home, &one, &two]) {
        assert_view(&**store, &name, n, &[("k", n.to_string().as_bytes())]).await;
    }
    let again = harness.open_namespace(&namespace("one")).await;
    assert_view(&*again, &name, 2, &[("k", b"2")]).await;
}

/// Guarantee 5: what one process wrote, the next one finds and continues.
pub async fn a_second_handle_sees_the_views_and_goes_on(harness: &dyn ViewHarness) {
    let name = view("chat/a", "timeline");
    for life in 0..4_u64 {
        let store = harness.open().await;
        let result = store.commit(&[batch(&name, life + 1, 99, vec![put("k", "no")])]).await;
        assert_moved(&result[0], &name, life + 1, life);
        let ops = vec![put(&format!("k{life}"), life.to_string())];
        commit(harness, &*store, batch(&name, life, life + 1, ops)).await;
    }
    let store = harness.open().await;
    let all: [(&str, &[u8]); 4] = [("k0", b"0"), ("k1", b"1"), ("k2", b"2"), ("k3", b"3")];
    assert_view(&*store, &name, 4, &all).await;
}
