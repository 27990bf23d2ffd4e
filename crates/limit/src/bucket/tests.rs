//! The bucket against one that counts tokens.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn admit(bucket: &Bucket, cell: &mut Cell, now: u64, cost: u32) -> Said {
    let said = bucket.ask(cell, Now(now), cost);
    if matches!(said, Said::Free(_)) {
        bucket.charge(cell, Now(now), cost);
    }
    said
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    let (bucket, mut cell) = (Bucket::new(10, Duration::from_secs(1), 3), Cell::default());
    for remaining in [2, 1, 0] {
        let said = admit(&bucket, &mut cell, SECOND, 1);
        assert!(matches!(said, Said::Free(standing) if standing.remaining == remaining), "{said:?}");
    }
    assert_eq!(admit(&bucket, &mut cell, SECOND, 1), Said::Full { wait: SECOND / 10 });
    assert!(matches!(admit(&bucket, &mut cell, SECOND + SECOND / 10, 1), Said::Free(_)));
    assert!(matches!(admit(&bucket, &mut cell, SECOND + SECOND / 10, 1), Said::Full { .. }));
    assert_eq!(cell.used, 3);
}

proptest! {
    /// Tokens as fractions in a reference that adds what has come back since the last look.
    #[test]
    fn it_agrees_with_a_bucket_of_tokens(
        count in 1_u64..50, burst in 1_u32..20, steps in prop::collection::vec((0_u64..300, 1_u32..4), 1..300)
    ) {
        let bucket = Bucket::new(count, Duration::from_secs(1), burst);
        let interval = bucket.interval;
        let (mut cell, mut missing, mut last, mut now) = (Cell::default(), 0_u64, SECOND, SECOND);
        for (step, cost) in steps {
            now += step * 1_000_003;
            missing = missing.saturating_sub(now - last);
            last = now;
            let cost = cost.min(burst);
            let needs = u64::from(cost) * interval;
            let free = missing + needs <= u64::from(burst) * interval;
            match admit(&bucket, &mut cell, now, cost) {
                Said::Free(standing) => {
                    prop_assert!(free);
                    missing += needs;
                    let left = (u64::from(burst) * interval - missing) / interval;
                    prop_assert_eq!(u64::from(standing.remaining), left);
                }
                Said::Full { wait } => {
                    prop_assert!(!free);
                    prop_assert_eq!(wait, missing + needs - u64::from(burst) * interval);
                }
            }
        }
    }
}
