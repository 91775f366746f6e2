//! A logarithmic axis.

/// Values from `least` to `most` along `length` pixels from `start`; a negative length goes up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    least: f64,
    most: f64,
    start: f64,
    length: f64,
}

impl Axis {
    /// An axis that holds all `values`, with some room at its ends.
    pub(super) fn over(values: impl IntoIterator<Item = f64>, start: f64, length: f64) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for value in values {
            least = least.min(value);
            most = most.max(value);
        }
        if least > most {
            (least, most) = (0.5, 2.0);
        }
        Self {
            least: least / 1.25,
            most: most * 1.25,
            start,
            length,
        }
    }

    /// The place of a value; what lies outside is put at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.least, self.most);
        let share = (value / self.least).ln() / (self.most / self.least).ln();
        self.start + share * self.length
    }

    /// Round values on it: 1, 2, 5, 10 and so on; only 1, 10, 100 if it is long.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let decades = (self.most / self.least).log10();
        let steps: &[f64] = if decades > 3.5 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let first = self.least.log10().floor() as i32;
        let last = self.most.log10().ceil() as i32;
        (first..=last)
            .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
            .filter(|tick| (self.least..=self.most).contains(tick))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ratios_are_equal_distances() {
        let axis = Axis::over([0.1, 10.0], 0.0, 100.0);
        assert!((axis.at(1.0) - 50.0).abs() < 1e-9);
        let step = axis.at(2.0) - axis.at(1.0);
        assert!((axis.at(1.0) - axis.at(0.5) - step).abs() < 1e-9);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::over([0.3, 30.0], 0.0, 100.0);
        assert_eq!(axis.ticks(), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
    }
}
