//! Plots as SVG, drawn for the width of a phone: names are above their marks instead of beside them.

use std::fmt::Write as _;

const WIDTH: f64 = 360.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 348.0;

/// A row of a plot: a name, and values with the class of their marks.
pub(super) struct Row {
    pub(super) name: String,
    /// Each mark is a range from the first value to the second.
    pub(super) ranges: Vec<(&'static str, f64, f64)>,
}

/// Ranges on a logarithmic scale, each with a dot at its beginning and a ring at its end.
pub(super) fn ranges(title: &str, unit: &str, rows: &[Row]) -> String {
    let all = rows.iter().flat_map(|row| &row.ranges);
    let all = all
        .flat_map(|(_, from, to)| [*from, *to])
        .filter(|value| *value > 0.0);
    let (lowest, highest) = all.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if lowest > highest {
        return String::new();
    }
    let (low, high) = (lowest.log10().floor(), highest.log10().ceil());
    let high = if high > low { high } else { low + 1.0 };
    let place = |value: f64| {
        let share = (value.max(10_f64.powf(low)).log10() - low) / (high - low);
        LEFT + share * (RIGHT - LEFT)
    };
    let mut svg = String::new();
    let mut y = 8.0;
    for row in rows {
        let _ = write!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.0}\">{}</text>",
            y + 10.0,
            row.name
        );
        y += 20.0;
        for (class, from, to) in &row.ranges {
            let (x1, x2) = (place(*from), place(*to));
            let _ = write!(
                svg,
                "<line class=\"{class}\" x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y}\" y2=\"{y}\"/>\
                 <circle class=\"{class} full\" cx=\"{x1:.1}\" cy=\"{y}\" r=\"3.5\"/>\
                 <circle class=\"{class} open\" cx=\"{x2:.1}\" cy=\"{y}\" r=\"3.5\"/>"
            );
            y += 10.0;
        }
        y += 6.0;
    }
    let mut grid = String::new();
    let mut exponent = low;
    while exponent <= high {
        let value = 10_f64.powf(exponent);
        axis(&mut grid, place(value), y, &format!("{value}"), unit);
        exponent += 1.0;
    }
    whole(title, y + 20.0, &format!("{grid}{svg}"))
}

/// Bars on an even scale; the parts of a bar follow each other.
pub(super) fn bars(title: &str, unit: &str, rows: &[(String, Vec<(&'static str, f64)>)]) -> String {
    let sum = |parts: &[(&str, f64)]| parts.iter().map(|(_, value)| value).sum::<f64>();
    let highest = rows.iter().map(|(_, parts)| sum(parts)).fold(0.0, f64::max);
    if highest <= 0.0 {
        return String::new();
    }
    let step = step(highest);
    let end = (highest / step).ceil() * step;
    let place = |value: f64| LEFT + value / end * (RIGHT - LEFT);
    let (mut svg, mut y) = (String::new(), 8.0);
    for (name, parts) in rows {
        let total = sum(parts);
        let _ = write!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.0}\">{name}: {total:.0}</text>",
            y + 10.0
        );
        y += 15.0;
        let mut from = 0.0;
        for (class, value) in parts {
            let (x, width) = (place(from), place(from + value) - place(from));
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"9\"/>"
            );
            from += value;
        }
        y += 15.0;
    }
    let (mut grid, mut value) = (String::new(), 0.0);
    while value <= end {
        axis(&mut grid, place(value), y, &format!("{value}"), unit);
        value += step;
    }
    whole(title, y + 20.0, &format!("{grid}{svg}"))
}

/// Curves on even scales.
pub(super) fn curves(
    title: &str,
    unit: &str,
    curves: &[(&'static str, Vec<(f64, f64)>)],
) -> String {
    const HEIGHT: f64 = 200.0;
    const FIRST: f64 = 40.0;
    let points = || curves.iter().flat_map(|(_, points)| points);
    let right = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
    if right <= 0.0 || top <= 0.0 {
        return String::new();
    }
    let (step_x, step_y) = (step(right), step(top));
    let end = (top / step_y).ceil() * step_y;
    let x = |value: f64| FIRST + value / right * (RIGHT - FIRST);
    let y = |value: f64| HEIGHT - value / end * (HEIGHT - 12.0);
    let mut svg = String::new();
    let mut value = 0.0;
    while value <= right {
        axis(&mut svg, x(value), HEIGHT, &format!("{value}"), unit);
        value += step_x;
    }
    value = 0.0;
    while value <= end {
        let at = y(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{FIRST}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            FIRST - 4.0,
            at + 4.0
        );
        value += step_y;
    }
    for (class, points) in curves {
        let mut path = String::new();
        for (number, (at, value)) in points.iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(*at), y(*value));
        }
        let _ = write!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    whole(title, HEIGHT + 20.0, &svg)
}

/// A vertical line with its value below.
fn axis(svg: &mut String, x: f64, bottom: f64, label: &str, unit: &str) {
    let anchor = match x {
        _ if x < LEFT + 20.0 => "start",
        _ if x > RIGHT - 20.0 => "end",
        _ => "middle",
    };
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"4\" y2=\"{bottom:.0}\"/>\
         <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{label} {unit}</text>",
        bottom + 14.0
    );
}

fn whole(title: &str, height: f64, content: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">{content}</svg>"
    )
}

/// A step of 1, 2 or 5 times a power of ten, of which at most five make up the value.
fn step(value: f64) -> f64 {
    let rough = value / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_at_most_five() {
        for (value, expected) in [
            (100.0, 20.0),
            (42.0, 10.0),
            (7.0, 2.0),
            (0.3, 0.1),
            (1_234.0, 500.0),
        ] {
            let step = step(value);
            assert!((step - expected).abs() < expected * 1e-9, "{value}: {step}");
        }
    }

    #[test]
    fn marks_stay_within_the_plot_and_nothing_gives_no_plot() {
        let rows = [Row {
            name: "a".to_owned(),
            ranges: vec![("one", 0.0, 5_000.0), ("two", 20.0, 21.0)],
        }];
        let svg = ranges("t", "ms", &rows);
        let marks = svg.split("cx=\"").skip(1);
        let places: Vec<f64> = marks
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(places.len(), 4);
        assert!(
            places.iter().all(|x| (LEFT..=RIGHT).contains(x)),
            "{places:?}"
        );
        assert_eq!(ranges("t", "ms", &[]), "");
        assert_eq!(bars("t", "B", &[("a".to_owned(), vec![("one", 0.0)])]), "");
        assert_eq!(curves("t", "ms", &[("one", Vec::new())]), "");
    }
}
