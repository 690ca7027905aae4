//! W3C trace context: to which trace something belongs, and under which of its spans it happened.

use std::fmt;

use uuid::Uuid;

/// Of the flags, those that have a meaning: sampled, and that the trace's id is random.
const KNOWN_FLAGS: u8 = 0b11;

const SAMPLED: u8 = 0b01;

/// What a `traceparent` says: `version-trace_id-parent_id-flags` in lower-case hexadecimal, ids not all zero.
///
/// Anything else is left out wherever it would go on: traces must never fail an append, nor a publish. A later version of the
/// standard is read as this one, as it asks for, and goes on as this one.
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// A span of a trace that is sampled. `None`: one of the ids is zero, which says that there is none.
    pub fn sampled(trace_id: u128, span_id: u64) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags: SAMPLED })
    }

    /// What `text` says, if it is a `traceparent`.
    pub fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.split_at_checked(2)?;
        let (trace_id, rest) = rest.strip_prefix('-')?.split_at_checked(32)?;
        let (span_id, rest) = rest.strip_prefix('-')?.split_at_checked(16)?;
        let flags = rest.strip_prefix('-').filter(|flags| flags.len() == 2)?;
        let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if version == "ff" || ![version, trace_id, span_id, flags].into_iter().all(hex) {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace_id, 16).ok()?,
            span_id: u64::from_str_radix(span_id, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// The trace.
    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The span in it.
    pub fn span_id(self) -> u64 {
        self.span_id
    }

    /// Whether its spans are kept. Whoever is asked to go on with a trace keeps to what it began with.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// As a `traceparent`, always 55 characters.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written once for each event that is traced, at each stop.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        Uuid::from_u128(self.trace_id).simple().encode_lower(&mut text[3..35]);
        let mut span_id = [0; 32];
        Uuid::from_u128(self.span_id.into()).simple().encode_lower(&mut span_id);
        text[36..52].copy_from_slice(&span_id[16..]);
        // The flags that are known are a digit.
        text[54] += self.flags;
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_wellformed_traceparent_is_one() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(text).expect("it is one");
        assert_eq!(context.trace_id(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((context.span_id(), context.is_sampled()), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(context.to_string(), text);
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033é-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            &"0".repeat(1025),
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn flags_without_a_meaning_are_not_passed_on() {
        let with = |flags: &str| {
            let text = format!("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let context = TraceContext::parse(&text).expect("it is one");
            (context.is_sampled(), context.to_string()[53..].to_owned())
        };
        for (flags, sampled, passed_on) in
            [("00", false, "00"), ("02", false, "02"), ("03", true, "03"), ("fd", true, "01")]
        {
            assert_eq!(with(flags), (sampled, passed_on.to_owned()), "{flags}");
        }
    }
}
