//! Whether, and when, a container that has ended is started again.

use super::super::spec::{Policy, Restart};
use std::time::Duration;

/// The first pause; each next one is twice as long.
const SHORTEST: Duration = Duration::from_millis(100);

const LONGEST: Duration = Duration::from_secs(60);

/// A life that lasted this long was a good one: pauses begin anew.
const GOOD: Duration = Duration::from_secs(10);

/// Counts the starts of one container.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// In a row, without a good life between.
    in_a_row: u32,
    /// All of them.
    pub(super) count: u32,
}

impl Restarts {
    /// The pause until the next start; `None` when there is none.
    pub(super) fn next(&mut self, wanted: Restart, code: u8, lived: Duration) -> Option<Duration> {
        let again = match wanted.policy {
            Policy::No => false,
            Policy::OnFailure => code != 0 && (wanted.retries == 0 || self.count < wanted.retries),
            Policy::Always | Policy::UnlessStopped => true,
        };
        if !again {
            return None;
        }
        if lived >= GOOD {
            self.in_a_row = 0;
        }
        let pause = SHORTEST.saturating_mul(1 << self.in_a_row.min(16));
        self.in_a_row += 1;
        self.count += 1;
        Some(pause.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Restart {
        text.parse().unwrap()
    }

    #[test]
    fn policies() {
        let next = |text, code| Restarts::default().next(policy(text), code, Duration::ZERO);
        assert_eq!(next("no", 1), None);
        assert_eq!(next("on-failure", 0), None);
        assert_eq!(next("on-failure", 1), Some(SHORTEST));
        assert_eq!(next("always", 0), Some(SHORTEST));
        assert_eq!(next("unless-stopped", 0), Some(SHORTEST));
        let mut restarts = Restarts::default();
        let twice = policy("on-failure:2");
        let tries: Vec<_> = (0..3)
            .map(|_| restarts.next(twice, 1, Duration::ZERO).is_some())
            .collect();
        assert_eq!(tries, [true, true, false]);
        for bad in ["sometimes", "on-failure:x", "always:3", "on-failure:-1"] {
            assert!(bad.parse::<Restart>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_grow_until_a_good_life() {
        let mut restarts = Restarts::default();
        let mut next = |lived| restarts.next(policy("always"), 0, lived).unwrap();
        assert_eq!(next(Duration::ZERO), Duration::from_millis(100));
        assert_eq!(next(Duration::ZERO), Duration::from_millis(200));
        assert_eq!(next(GOOD), Duration::from_millis(100));
        for _ in 0..40 {
            next(Duration::ZERO);
        }
        assert_eq!(next(Duration::ZERO), LONGEST);
    }
}
