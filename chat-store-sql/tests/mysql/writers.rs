//! Many writers over several handles, as several processes have them.

use std::sync::Arc;

use chat_core::ports::EventStore;
use chat_core::testkit::processes::write_in_opposite_orders;

use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_to_several_streams_in_opposite_orders_never_meet_a_deadlock() {
    let place = Place::new();
    let mut handles: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..4 {
        handles.push(place.open().await.events());
    }
    write_in_opposite_orders(&handles).await;
}
