//! Durable subscriptions of the test kit, with members as processes of their own.

macro_rules! tests {
    ($place:ident) => {
        mod $place {
            use std::future::ready;

            use crate::scenarios::Harness;

            chat_core::durable_subscription_tests!(|| ready(Harness::$place()));

            mod under_faults {
                use std::future::ready;

                use chat_core::testkit::UnderFaults;

                use crate::scenarios::Harness;

                chat_core::durable_subscription_tests!(|| ready(UnderFaults::new(
                    Harness::$place()
                )));
            }
        }
    };
}

tests!(on_one_server);
tests!(on_a_cluster);
