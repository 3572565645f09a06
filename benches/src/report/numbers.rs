//! Numbers as people read them.

use crate::measure::Figure;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Micros,
    Millis,
    Bytes,
    /// Of one; shown in hundredths.
    Percent,
    /// How many times as much.
    Times,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Micros => format!("{} µs", grouped(value)),
            Self::Millis => format!("{} ms", grouped(value)),
            Self::Bytes => format!("{} bytes", apart(&format!("{value:.0}"))),
            Self::Percent => format!("{:.0} %", value * 100.0),
            Self::Times => format!("{value:.2}×"),
        }
    }

    /// The median, and from what to what the rounds went.
    pub(crate) fn show_figure(self, figure: &Figure) -> String {
        let median = self.show(figure.median());
        if figure.samples.len() < 2 {
            return median;
        }
        let end = |value| {
            let shown = self.show(value);
            let number = shown.split(' ').next().unwrap_or_default();
            number.trim_end_matches("/s").trim_end_matches('×').to_owned()
        };
        format!("{median} ({}–{})", end(figure.low()), end(figure.high()))
    }
}

/// Three digits that matter, thousands apart.
pub(crate) fn grouped(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value < 100.0 {
        let places = if value < 1.0 {
            3
        } else if value < 10.0 {
            2
        } else {
            1
        };
        return format!("{value:.places$}");
    }
    let digits = value.log10().floor() as i32;
    let step = 10_f64.powi((digits - 2).max(0));
    apart(&format!("{:.0}", (value / step).round() * step))
}

/// A count, thousands apart.
pub(crate) fn count(number: usize) -> String {
    apart(&number.to_string())
}

fn apart(text: &str) -> String {
    let mut grouped = String::with_capacity(text.len() + 4);
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_shown() {
        let shown: Vec<_> =
            [0.0123, 1.234, 12.34, 123.4, 1_234.0, 1_234_567.0].into_iter().map(grouped).collect();
        assert_eq!(shown, ["0.012", "1.23", "12.3", "123", "1,230", "1,230,000"]);
    }

    #[test]
    fn spread_stands_beside_the_median() {
        let figure = Figure { samples: vec![80_000.0, 75_000.0, 70_000.0] };
        assert_eq!(Unit::PerSecond.show_figure(&figure), "75,000/s (70,000–80,000)");
        let ratio = Figure { samples: vec![0.5, 0.25] };
        assert_eq!(Unit::Percent.show_figure(&ratio), "38 % (25–50)");
        assert_eq!(Unit::Times.show_figure(&ratio), "0.38× (0.25–0.50)");
        assert_eq!(Unit::Bytes.show(1_024.0), "1,024 bytes");
    }
}
