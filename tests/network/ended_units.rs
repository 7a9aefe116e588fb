//! Units end in order when a service manager or a container asks them to.

use holon_tests::units::{Kind, Units};

#[test]
fn units_end_in_order_on_sigterm() {
    let mut units = Units::start(&[]).unwrap();
    for kind in [Kind::Mu, Kind::Cu, Kind::Su, Kind::Weave] {
        let status = units.terminate(kind).unwrap();
        assert!(status.success(), "{kind:?} ended with {status}:\n{}", units.log_tail(kind));
    }
}
