//! How much work a recording may cause: expensive sequences on huge screens are left out when they come too thick.
//!
//! Erasing a screen of a million cells takes four bytes to ask for, so a hostile recording could keep a reviewer's
//! machine busy for hours. Every byte and every recorded second earns an allowance that no real program exhausts. It
//! depends on the recording alone, so that every way to a moment shows the same screen. See [`super::screen`].

use std::time::Duration;

/// Cells of work that may be saved up.
const MOST: u64 = 20_000_000;
/// Cells of work earned by a byte.
const PER_BYTE: u64 = 64;
/// Cells of work earned by a microsecond of the recording.
const PER_MICROSECOND: u64 = 5;

/// An allowance of work, in cells touched.
#[derive(Debug, Clone)]
pub(super) struct Effort {
    left: u64,
    at: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self { left: MOST, at: Duration::ZERO }
    }
}

impl Effort {
    /// Time went on to `at` in the recording.
    pub(super) fn pass(&mut self, at: Duration) {
        let passed = at.saturating_sub(self.at).as_micros();
        self.at = self.at.max(at);
        self.earn(u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(PER_MICROSECOND));
    }

    /// Bytes came.
    pub(super) fn read(&mut self, bytes: usize) {
        self.earn(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(PER_BYTE));
    }

    /// Whether a sanitised sequence can be afforded on a screen of this size; pays for it if so.
    pub(super) fn spend(&mut self, sequence: &str, columns: usize, rows: usize) -> bool {
        let cost = cost(sequence, columns, rows);
        let Some(left) = self.left.checked_sub(cost) else { return false };
        self.left = left;
        true
    }

    fn earn(&mut self, cells: u64) {
        self.left = self.left.saturating_add(cells).min(MOST);
    }
}

/// Cells a sequence touches, at most.
fn cost(sequence: &str, columns: usize, rows: usize) -> u64 {
    let screen = columns.saturating_mul(rows);
    let cells = match sequence.chars().last() {
        Some('J' | 'S' | 'T' | 'L') => screen,
        // As a CSI sequence it deletes lines, alone it scrolls.
        Some('M') => screen,
        Some('h' | 'l') if sequence.contains("47") || sequence.contains("49") => screen.saturating_mul(2),
        Some('K' | '@' | 'P' | 'X' | 'D' | 'E') => columns,
        Some('b') => 256,
        _ => 0,
    };
    u64::try_from(cells).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_cleared_ten_times_a_second_all_day_is_afforded() {
        let mut effort = Effort::default();
        for tenth in 1..864_000_u64 {
            effort.pass(Duration::from_millis(tenth * 100));
            effort.read(40);
            assert!(effort.spend("[2J", 300, 100));
        }
    }

    #[test]
    fn what_costs_more_than_it_earns_is_refused_in_the_end() {
        let mut effort = Effort::default();
        let afforded = (0..1_000_000)
            .filter(|_| {
                effort.read(4);
                effort.spend("[2J", 1000, 1000)
            })
            .count();
        assert!((20..300).contains(&afforded), "{afforded}");
    }
}
