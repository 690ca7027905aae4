//! W3C trace context: which values are one.

/// Whether `text` is a W3C `traceparent`: `version-trace_id-parent_id-flags` in lower-case hexadecimal, ids not all zero.
/// Anything else is left out wherever it would go on: traces must never fail an append, nor a publish.
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    matches!(parts[..], [version, trace, parent, flags]
        if (version.len(), trace.len(), parent.len(), flags.len()) == (2, 32, 16, 2)
        && parts.iter().all(|part| hex(part)) && version != "ff" && some(trace) && some(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wellformed_traceparent_is_one() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033é-01",
            &"0".repeat(1025),
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
    }
}
