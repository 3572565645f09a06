//! Durable subscriptions of the test kit, with members as processes of their own on one database.

use crate::scenarios::Harness;

mod on_a_server {
    use std::future::ready;

    chat_core::durable_subscription_tests!(|| ready(super::Harness::new()));
}

mod under_faults {
    use std::future::ready;

    use chat_core::testkit::UnderFaults;

    chat_core::durable_subscription_tests!(|| ready(UnderFaults::new(super::Harness::new())));
}
