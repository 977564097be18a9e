//! Tests of the arithmetic in the benchmarks' reports. (Benchmarks cannot contain tests.)

#[path = "../benches/tap/arithmetic.rs"]
mod arithmetic;
#[path = "../benches/common/spread.rs"]
mod spread;

use arithmetic::{Bound, change, percentile, ratio};
use spread::Spread;

#[test]
fn the_median_is_in_the_middle_whatever_the_order() {
    let spread = |values: &[f64]| Spread::of(values.to_vec()).map(|it| (it.median, it.least, it.most));
    assert_eq!(spread(&[]), None);
    assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
    assert_eq!(spread(&[9.0, 1.0, 5.0]), Some((5.0, 1.0, 9.0)));
    assert_eq!(spread(&[4.0, 1.0, 100.0, 2.0]), Some((3.0, 1.0, 100.0)));
    assert_eq!(spread(&[-1.0, -3.0]), Some((-2.0, -3.0, -1.0)));
}

/// One bad round changes the range, but neither the median nor the ratio.
#[test]
fn a_ratio_is_that_of_the_medians_and_its_range_that_of_the_rounds() {
    let ours = [30.0, 10.0, 20.0];
    let theirs = [10.0, 10.0, 100.0];
    assert_eq!(ratio(&ours, &theirs), Some(Spread { median: 2.0, least: 0.2, most: 3.0 }));
    assert_eq!(ratio(&ours, &ours), Some(Spread { median: 1.0, least: 1.0, most: 1.0 }));
    assert_eq!(ratio(&ours, &[]), None);
    assert_eq!(ratio(&[], &theirs), None);
    // A round that failed is left out.
    assert_eq!(ratio(&ours, &[10.0]), Some(Spread { median: 2.0, least: 3.0, most: 3.0 }));
}

/// Nearest rank: the given percentage of the values does not exceed the result, and no smaller
/// value has that property.
#[test]
fn percentiles_are_values_that_were_measured() {
    let hundred: Vec<u64> = (1..=100).collect();
    assert_eq!(percentile(&hundred, 50.0), Some(50));
    assert_eq!(percentile(&hundred, 99.0), Some(99));
    assert_eq!(percentile(&hundred, 99.9), Some(100));
    assert_eq!(percentile(&hundred, 100.0), Some(100));
    assert_eq!(percentile(&hundred, 0.0), Some(1));
    assert_eq!(percentile(&[5, 6, 7], 50.0), Some(6));
    assert_eq!(percentile(&[5], 99.9), Some(5));
    assert_eq!(percentile(&[], 50.0), None);
}

#[test]
fn a_bound_belongs_to_what_it_allows() {
    assert!(Bound::AtLeast(0.9).is_met(0.9) && Bound::AtLeast(0.9).is_met(2.0));
    assert!(!Bound::AtLeast(0.9).is_met(0.899));
    assert!(Bound::AtMost(1.25).is_met(1.25) && Bound::AtMost(1.25).is_met(0.1));
    assert!(!Bound::AtMost(1.25).is_met(1.251) && !Bound::AtMost(1.25).is_met(f64::NAN));
}

/// A loss is more than 5 %, or more than the earlier rounds differ among themselves, whichever is
/// larger.
#[test]
fn a_loss_is_larger_than_the_noise() {
    let is_loss = |here: &[f64], there: &[f64], more_is_better| {
        change(here, there, more_is_better).map(|change| change.is_loss)
    };
    let steady = [100.0, 100.0, 100.0];
    assert_eq!(is_loss(&[94.0], &steady, true), Some(true));
    assert_eq!(is_loss(&[96.0], &steady, true), Some(false));
    assert_eq!(is_loss(&[106.0], &steady, true), Some(false));
    assert_eq!(is_loss(&[106.0], &steady, false), Some(true));
    assert_eq!(is_loss(&[104.0], &steady, false), Some(false));
    assert_eq!(is_loss(&[94.0], &steady, false), Some(false));
    let noisy = [90.0, 100.0, 110.0];
    assert_eq!(is_loss(&[81.0], &noisy, true), Some(false));
    assert_eq!(is_loss(&[79.0], &noisy, true), Some(true));
    assert_eq!(is_loss(&[], &steady, true), None);
}
