//! Durable subscriptions of the test kit, with members as processes of their own on one file.

use std::future::ready;

use crate::scenarios::Harness;

chat_core::durable_subscription_tests!(|| ready(Harness::new()));
