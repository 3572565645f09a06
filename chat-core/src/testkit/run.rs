//! Runs one check to its end.

use std::future::Future;
use std::time::Duration;

/// Longer than any check takes on a slow machine with a slow database.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a check on a runtime of its own with two threads.
///
/// # Panics
/// If the check does, or if it has not ended after five minutes.
pub fn run(check: impl Future<Output = ()>) {
    run_within(PATIENCE, check);
}

/// Runs a check of [`cases`](super::model::cases) cases, with a second more for each.
///
/// # Panics
/// As [`run`].
pub fn run_cases(check: impl Future<Output = ()>) {
    run_within(PATIENCE + Duration::from_secs(super::model::cases()), check);
}

fn run_within(patience: Duration, check: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(patience, check).await.expect("the check has not ended in time");
    });
}

/// Makes a test of each check.
#[doc(hidden)]
#[macro_export]
macro_rules! __kit_checks {
    ($fresh:expr, $module:tt, $($check:ident,)*) => {
        $($crate::__kit_check! { $fresh, $module, $check })*
    };
}

/// Makes a test of one check.
#[doc(hidden)]
#[macro_export]
macro_rules! __kit_check {
    ($fresh:expr, [$($module:tt)*], $check:ident) => {
        #[test]
        fn $check() {
            $crate::testkit::run(async {
                let harness = $fresh().await;
                $($module)*::$check(&harness).await;
            });
        }
    };
}

/// Makes a test of a check that needs a fresh harness for each of its cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __kit_cases {
    ($fresh:expr, $($check:ident,)*) => {
        $(
            #[test]
            fn $check() {
                $crate::testkit::run_cases($crate::testkit::model::$check($fresh));
            }
        )*
    };
}
