use super::*;

#[test]
fn durations_are_read_in_the_usual_notations() {
    let cases = [
        ("30s", 30_000),
        ("500ms", 500),
        ("1h 30m", 5_400_000),
        ("1h30m", 5_400_000),
        ("2 minutes", 120_000),
        ("1w", 7 * 24 * 3_600_000),
        (" 10 s ", 10_000),
        ("0", 0),
    ];
    for (text, ms) in cases {
        assert_eq!(parse_time(text), Some(Duration::from_millis(ms)), "{text}");
    }
}

#[test]
fn invalid_and_too_long_durations_are_refused() {
    let longer_than_a_century = "40000d";
    let beyond_64_bits = "99999999999999999999s";
    let overflowing_product = "18446744073709551615d";
    for text in [
        "",
        "s",
        "30",
        "30 parsecs",
        "1.5s",
        "-3s",
        "3s4",
        longer_than_a_century,
        beyond_64_bits,
        overflowing_product,
        "3s é",
    ] {
        assert_eq!(parse_time(text), None, "{text}");
    }
}

#[test]
fn a_written_duration_can_be_read_back() {
    for ms in [0, 1, 999, 1000, 90_000, 3_600_000, 86_400_000, 90_061_001] {
        let time = Duration::from_millis(ms);
        assert_eq!(parse_time(&written(time)), Some(time));
    }
    assert_eq!(written(Duration::from_secs(90)), "1m 30s");
}
