//! The maximum nesting of JSON: other clients must be able to read it with recursive parsers.

/// The maximum depth of arrays and objects in a message's data.
pub const MAX_NESTING: usize = 64;

/// Whether a text that may be JSON would be an object.
#[must_use]
pub fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
        .starts_with('{')
}

/// Whether valid JSON nests no deeper than [`MAX_NESTING`].
#[must_use]
pub fn is_shallow(json: &str) -> bool {
    // Nearly always there are fewer brackets than that, even counting those in strings.
    opening_brackets(json) <= MAX_NESTING || nests_shallowly(json)
}

/// Counts in parts that a byte can count, so that the compiler compares 16 bytes at a time.
fn opening_brackets(json: &str) -> usize {
    let count = |part: &[u8]| {
        let is_opening = |byte: &u8| u8::from(matches!(byte, b'[' | b'{'));
        part.iter().map(is_opening).fold(0, u8::wrapping_add)
    };
    let parts = json.as_bytes().chunks(usize::from(u8::MAX));
    parts.map(|part| usize::from(count(part))).sum()
}

fn nests_shallowly(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return false;
        }
    }
    true
}
