//! How deep JSON may nest: other clients have to read it, with parsers that recurse.

/// Arrays and objects within each other in a message's data.
pub const MAX_NESTING: usize = 64;

/// Whether valid JSON nests no deeper than [`MAX_NESTING`].
#[must_use]
pub fn is_shallow(json: &str) -> bool {
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
