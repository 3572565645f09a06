//! Plots as SVG, written by hand: lines on logarithmic axes, and bars.

use std::fmt::Write as _;

use super::numbers::{Unit, grouped};
use crate::measure::Figure;

#[derive(Debug)]
pub(crate) enum Plot {
    /// How something changes with a number; both axes are logarithmic.
    Lines { title: String, across: &'static str, unit: Unit, series: Vec<Series> },
    /// Things side by side; the axis is logarithmic, and a whisker shows the rounds.
    Bars { title: String, unit: Unit, bars: Vec<Bar> },
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Debug)]
pub(crate) struct Bar {
    name: String,
    median: f64,
    low: f64,
    high: f64,
}

impl Bar {
    pub(crate) fn new(name: impl Into<String>, figure: &Figure) -> Self {
        let (median, low, high) = (figure.median(), figure.low(), figure.high());
        Self { name: name.into(), median, low, high }
    }
}

impl Plot {
    pub(super) fn title(&self) -> &str {
        let (Self::Lines { title, .. } | Self::Bars { title, .. }) = self;
        title
    }

    pub(super) fn svg(&self) -> String {
        match self {
            Self::Lines { title, across, unit, series } => lines(title, across, *unit, series),
            Self::Bars { title, unit, bars } => self::bars(title, *unit, bars),
        }
    }
}

/// A logarithmic axis; its ends are kept as powers of ten.
#[derive(Debug)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// From the least value to the greatest.
    fn exact(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            low = low.min(value.log10());
            high = high.max(value.log10());
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        Self { low, high: high.max(low + 0.1), from, to }
    }

    /// From a whole power of ten to another.
    fn whole(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let Self { low, high, .. } = Self::exact(values, from, to);
        let low = low.floor();
        Self { low, high: high.ceil().max(low + 1.0), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low);
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Powers of ten, with their places.
    fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        (self.low.ceil() as i32..=self.high.floor() as i32).map(|power| {
            let value = 10_f64.powi(power);
            let name = if power < 2 { value.to_string() } else { grouped(value) };
            (self.place(value), name)
        })
    }
}

fn lines(title: &str, across: &str, unit: Unit, series: &[Series]) -> String {
    let height = HEIGHT + 18.0 * series.len() as f64;
    let mut svg = begin(title, height);
    let points = || series.iter().flat_map(|series| &series.points);
    let x = Axis::exact(points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
    let y = Axis::whole(points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
    for (place, name) in y.ticks() {
        let _ = write!(svg, "{}", grid(LEFT, place, WIDTH - RIGHT, place));
        let _ = write!(svg, "{}", label(LEFT - 6.0, place + 4.0, "end", &name));
    }
    for (place, name) in x.ticks() {
        let _ = write!(svg, "{}", grid(place, TOP, place, HEIGHT - BOTTOM));
        let _ = write!(svg, "{}", label(place, HEIGHT - BOTTOM + 16.0, "middle", &name));
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    let _ = write!(svg, "{}", label(middle, HEIGHT - 12.0, "middle", across));
    let _ = write!(svg, "{}", label(LEFT - 6.0, TOP - 8.0, "end", name_of(unit)));
    for ((number, Series { name, points }), color) in
        series.iter().enumerate().zip(COLORS.iter().cycle())
    {
        let dash = if number >= COLORS.len() { r#" stroke-dasharray="5 3""# } else { "" };
        let path: Vec<_> =
            points.iter().map(|(a, b)| format!("{:.1},{:.1}", x.place(*a), y.place(*b))).collect();
        let path = path.join(" ");
        let _ = writeln!(
            svg,
            r#"<polyline fill="none" stroke="{color}" stroke-width="2"{dash} points="{path}"/>"#
        );
        for (a, b) in points {
            let (a, b) = (x.place(*a), y.place(*b));
            let _ = writeln!(svg, r#"<circle cx="{a:.1}" cy="{b:.1}" r="3" fill="{color}"/>"#);
        }
        let line = HEIGHT + 4.0 + 18.0 * number as f64;
        let _ = writeln!(
            svg,
            r#"<path d="M{LEFT} {line}h26" stroke="{color}" stroke-width="3"{dash}/>"#
        );
        let _ = write!(svg, "{}", label(LEFT + 34.0, line + 4.0, "start", name));
    }
    svg.push_str("</svg>\n");
    svg
}

fn bars(title: &str, unit: Unit, bars: &[Bar]) -> String {
    let height = TOP + BAR * bars.len() as f64 + BOTTOM;
    let mut svg = begin(title, height);
    let values = bars.iter().flat_map(|bar| [bar.low, bar.median, bar.high]);
    let x = Axis::whole(values, BAR_LEFT, WIDTH - BAR_RIGHT);
    for (place, name) in x.ticks() {
        let _ = write!(svg, "{}", grid(place, TOP - 4.0, place, height - BOTTOM));
        let _ = write!(svg, "{}", label(place, height - BOTTOM + 16.0, "middle", &name));
    }
    let middle = f64::midpoint(BAR_LEFT, WIDTH - BAR_RIGHT);
    let _ = write!(svg, "{}", label(middle, height - 12.0, "middle", name_of(unit)));
    for (number, Bar { name, median, low, high }) in bars.iter().enumerate() {
        let top = TOP + BAR * number as f64;
        let (end, line) = (x.place(*median), top + BAR / 2.0 - 2.0);
        let color = COLORS.first().copied().unwrap_or_default();
        let _ = write!(svg, "{}", label(BAR_LEFT - 8.0, line + 4.0, "end", name));
        let _ = writeln!(
            svg,
            r#"<rect x="{BAR_LEFT}" y="{top}" width="{:.1}" height="{}" fill="{color}"/>"#,
            (end - BAR_LEFT).max(1.0),
            BAR - 6.0
        );
        let (low, high) = (x.place(*low), x.place(*high));
        let _ = writeln!(
            svg,
            r##"<path d="M{low:.1} {line}H{high:.1}" stroke="#222" stroke-width="1.5"/>"##
        );
        let _ =
            write!(svg, "{}", label(high.max(end) + 6.0, line + 4.0, "start", &unit.show(*median)));
    }
    svg.push_str("</svg>\n");
    svg
}

fn begin(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" role="img">
<title>{title}</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="16" y="22" font-size="14" font-weight="bold" fill="#222">{title}</text>
"##
    )
}

fn grid(x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    format!("<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"#ddd\"/>\n")
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let text = escaped(text);
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{text}</text>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn name_of(unit: Unit) -> &'static str {
    match unit {
        Unit::PerSecond => "per second",
        Unit::Micros => "µs",
        Unit::Millis => "ms",
        Unit::Bytes => "bytes",
        Unit::Percent => "part",
        Unit::Times => "times",
    }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 48.0;
const BAR: f64 = 24.0;
const BAR_LEFT: f64 = 280.0;
const BAR_RIGHT: f64 = 110.0;
/// Told apart also by those who see no red or no green (Okabe and Ito).
const COLORS: &[&str] =
    &["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_puts_powers_of_ten_at_equal_distances() {
        let axis = Axis::whole([3.0, 700.0].into_iter(), 0.0, 300.0);
        let places: Vec<_> = axis.ticks().collect();
        let expected = [(0.0, "1"), (100.0, "10"), (200.0, "100"), (300.0, "1,000")];
        for ((place, name), (expected_place, expected_name)) in places.iter().zip(expected) {
            assert!((place - expected_place).abs() < 1e-9, "{places:?}");
            assert_eq!(name, expected_name);
        }
        assert_eq!(places.len(), 4);
    }

    #[test]
    fn exact_axis_ends_with_its_values() {
        let axis = Axis::exact([1.0, 1_024.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.place(1.0), axis.place(1_024.0)), (0.0, 300.0));
        assert_eq!(axis.ticks().count(), 4);
    }

    #[test]
    fn text_in_a_plot_is_escaped() {
        let bar = Bar::new("a < b & c", &Figure { samples: vec![5.0] });
        let plot = Plot::Bars { title: "x > y".into(), unit: Unit::Millis, bars: vec![bar] };
        let svg = plot.svg();
        assert!(
            svg.contains("a &lt; b &amp; c") && svg.contains("<title>x &gt; y</title>"),
            "{svg}"
        );
    }

    #[test]
    fn values_that_no_axis_holds_stay_inside() {
        let points = vec![(1.0, 0.0), (10.0, f64::NAN), (100.0, 5.0)];
        let series = vec![Series { name: "s".into(), points }];
        let plot = Plot::Lines { title: "t".into(), across: "n", unit: Unit::PerSecond, series };
        assert!(!plot.svg().contains("NaN"));
    }
}
