//! Why a request came to nothing.

/// What it comes down to: the messages around it say only that something was being sent.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
