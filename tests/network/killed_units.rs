//! Any unit is ended with `kill -9` at random, again and again, while tokens go round a ring of processes: see `storm`.

use std::time::Duration;

use holon_tests::units::{Kind, Units};

use crate::storm::{Victims, ride};

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_lost_or_doubled_while_any_unit_is_killed_at_random() {
    let units = Units::start(&["--retry-delay-ms", "100"]).unwrap();
    let victims = Victims {
        names: &["weave", "su", "cu", "mu"],
        kill: |units, number| units.kill(Kind::ALL[number]),
        begin: |units, number| units.begin(Kind::ALL[number]),
        longest_absence: Duration::from_millis(1_500),
    };
    ride(units, 1, victims).await;
}
