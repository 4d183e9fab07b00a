use super::*;

#[test]
fn bytes_are_read_with_a_unit_or_without() {
    let cases = [
        ("65536", 65_536),
        ("64 KiB", 65_536),
        ("64kib", 65_536),
        ("1MiB", 1 << 20),
        ("2 GiB", 2 << 30),
        ("10 KB", 10_000),
        ("3 B", 3),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse_bytes(text), Some(bytes), "{text}");
    }
}

#[test]
fn invalid_byte_sizes_and_those_above_64_bits_are_refused() {
    for text in [
        "",
        "KiB",
        "1.5 MiB",
        "-1",
        "1 XB",
        "18446744073709551615 KiB",
        "1 KiB é",
    ] {
        assert_eq!(parse_bytes(text), None, "{text}");
    }
}

#[test]
fn bytes_are_written_in_the_largest_exact_unit() {
    let cases = [
        (0, "0"),
        (1, "1"),
        (1024, "\"1 KiB\""),
        (1025, "1025"),
        (3 << 19, "\"1536 KiB\""),
        (1 << 30, "\"1 GiB\""),
    ];
    for (bytes, text) in cases {
        assert_eq!(Bytes::<u64>::new().write(&bytes).as_deref(), Some(text));
    }
}
