//! What is written down, and how much of it.

use super::*;

#[test]
fn denials_are_written_down_up_to_a_bound() {
    let (audit, start) = (Audit::default(), Instant::now());
    let written = |at: Instant| (0..100).filter(|_| audit.has_room_for_a_denial(at)).count();
    assert_eq!(written(start), DENIALS as usize);
    assert_eq!(written(start + PERIOD / 2), 0);
    assert_eq!(written(start + PERIOD), DENIALS as usize);
}
