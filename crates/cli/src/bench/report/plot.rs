//! A plot of curves, as SVG.

use std::fmt::Write as _;

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Linear, from 0.
    Even,
    /// Logarithmic.
    Log,
    /// Percentiles: 90, 99, 99.9 and so on at equal distances.
    Nines,
}

/// A plot to which curves can be added.
#[derive(Debug)]
pub(super) struct Plot {
    title: &'static str,
    x: Scale,
    y: Scale,
    curves: Vec<Curve>,
}

#[derive(Debug)]
struct Curve {
    class: &'static str,
    is_before: bool,
    points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 10.0;

impl Plot {
    pub(super) fn new(title: &'static str, x: Scale, y: Scale) -> Self {
        let curves = Vec::new();
        Self {
            title,
            x,
            y,
            curves,
        }
    }

    pub(super) fn title(&self) -> &'static str {
        self.title
    }

    pub(super) fn curve(&mut self, class: &'static str, is_before: bool, points: Vec<(f64, f64)>) {
        let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
        let points = points.into_iter().filter(finite).collect();
        self.curves.push(Curve {
            class,
            is_before,
            points,
        });
    }

    pub(super) fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let x = Axis::new(self.x, points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
        let y = Axis::new(self.y, points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title
        );
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in y.ticks() {
            let at = y.place(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        for (value, label) in x.ticks() {
            let at = x.place(value);
            let _ = write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 16.0
            );
        }
        for curve in &self.curves {
            let before = if curve.is_before { " before" } else { "" };
            let _ = write!(svg, "<path class=\"{}{before}\" d=\"", curve.class);
            for (number, (at, value)) in curve.points.iter().enumerate() {
                let letter = if number == 0 { 'M' } else { 'L' };
                let _ = write!(svg, "{letter}{:.1} {:.1}", x.place(*at), y.place(*value));
            }
            svg.push_str("\"/>");
        }
        svg.push_str("</svg>");
        svg
    }
}

/// Maps values to coordinates.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// The smallest value on a logarithmic axis: a nanosecond, in milliseconds.
const SMALLEST: f64 = 1e-6;

/// The last percentile with a position of its own: 99.999.
const MOST_NINES: f64 = 5.0;

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            low = low.min(value);
            high = high.max(value);
        }
        if !low.is_finite() {
            (low, high) = (0.0, 1.0);
        }
        let (low, high) = match scale {
            Scale::Even => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log => {
                let low = low.max(SMALLEST).log10().floor();
                (low, high.max(SMALLEST).log10().ceil().max(low + 1.0))
            }
            Scale::Nines => (0.0, MOST_NINES),
        };
        Self {
            scale,
            low,
            high,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Even => value,
            Scale::Log => value.max(SMALLEST).log10(),
            Scale::Nines => nines(value),
        };
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + (self.to - self.from) * part
    }

    /// Values with their labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Even => {
                let step = round_step(self.high / 4.0);
                let count = (self.high / step).floor() as u32;
                let label = |value: f64| match value {
                    1_000_000.0.. => format!("{:.1}M", value / 1e6),
                    10_000.0.. => format!("{:.0}k", value / 1e3),
                    _ if step < 1.0 => format!("{value:.2}"),
                    _ => format!("{value:.0}"),
                };
                let values = (0..=count.min(10)).map(|number| f64::from(number) * step);
                values.map(|value| (value, label(value))).collect()
            }
            Scale::Log => {
                let (low, high) = (self.low as i32, self.high as i32);
                let powers = (low..=high).map(|power| 10_f64.powi(power));
                powers.map(|value| (value, format!("{value}"))).collect()
            }
            Scale::Nines => ["0", "90", "99", "99.9", "99.99", "99.999"]
                .map(|label| (label.parse().unwrap_or_default(), label.to_owned()))
                .to_vec(),
        }
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(SMALLEST).log10().floor());
    let digit = step / power;
    power
        * match digit {
            ..1.5 => 1.0,
            ..3.5 => 2.0,
            ..7.5 => 5.0,
            _ => 10.0,
        }
}

/// The number of nines: 90 has one, 99 two, 99.9 three.
fn nines(percentile: f64) -> f64 {
    let rest = (1.0 - percentile / 100.0).max(10_f64.powf(-MOST_NINES));
    -rest.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_percentiles_spaces_nines_evenly() {
        for (percentile, expected) in [
            (0.0, 0.0),
            (90.0, 1.0),
            (99.0, 2.0),
            (99.9, 3.0),
            (100.0, 5.0),
        ] {
            assert!((nines(percentile) - expected).abs() < 1e-6, "{percentile}");
        }
    }

    #[test]
    fn a_plot_without_points_and_one_of_a_single_point_are_drawn() {
        for points in [
            vec![],
            vec![(1.0, 0.0)],
            vec![(f64::NAN, 1.0), (2.0, f64::INFINITY)],
        ] {
            let mut plot = Plot::new("a", Scale::Even, Scale::Log);
            plot.curve("a", false, points);
            let svg = plot.svg();
            assert!(
                svg.starts_with("<svg") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
        }
    }
}
