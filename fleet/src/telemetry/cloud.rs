//! A line of the log as Cloud Logging reads it: its own names where it has some, and what else is said beside them.
//!
//! Source: <https://cloud.google.com/logging/docs/structured-logging#special-payload-fields>.

use std::fmt;

use chrono::{SecondsFormat, Utc};
use events::TraceContext;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The field by which an event of the log says which trace it belongs to.
const TRACEPARENT: &str = "traceparent";

pub(super) struct Cloud {
    role: String,
    /// Whose traces these are; without it they are named by their id alone.
    project: Option<String>,
}

impl Cloud {
    pub fn of(role: &str) -> Self {
        let project = std::env::var("GOOGLE_CLOUD_PROJECT").ok().filter(|project| !project.is_empty());
        Self { role: role.to_owned(), project }
    }

    fn line(&self, event: &Event<'_>) -> Value {
        let metadata = event.metadata();
        let mut said = Said::default();
        event.record(&mut said);
        let Said(mut line) = said;
        if let Some(trace) = line.remove(TRACEPARENT).as_ref().and_then(Value::as_str).and_then(TraceContext::parse) {
            let id = format!("{:032x}", trace.trace_id());
            let name =
                self.project.as_ref().map_or_else(|| id.clone(), |project| format!("projects/{project}/traces/{id}"));
            line.insert("logging.googleapis.com/trace".to_owned(), name.into());
            line.insert("logging.googleapis.com/spanId".to_owned(), format!("{:016x}", trace.span_id()).into());
            line.insert("logging.googleapis.com/trace_sampled".to_owned(), trace.is_sampled().into());
        }
        line.insert("severity".to_owned(), severity(*metadata.level()).into());
        line.insert("time".to_owned(), Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true).into());
        line.insert("target".to_owned(), metadata.target().into());
        if let (Some(file), Some(number)) = (metadata.file(), metadata.line()) {
            // The number is text there.
            let place = json!({"file": file, "line": number.to_string()});
            line.insert("logging.googleapis.com/sourceLocation".to_owned(), place);
        }
        let labels = json!({"role": self.role, "version": env!("CARGO_PKG_VERSION")});
        line.insert("logging.googleapis.com/labels".to_owned(), labels);
        Value::Object(line)
    }
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

impl<S, N> FormatEvent<S, N> for Cloud
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writeln!(writer, "{}", self.line(event))
    }
}

/// The fields of an event.
#[derive(Default)]
struct Said(Map<String, Value>);

impl Said {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn line(project: Option<&str>, say: impl FnOnce()) -> Value {
        let written = Written::default();
        let cloud = Cloud { role: "worker".to_owned(), project: project.map(str::to_owned) };
        let subscriber = tracing_subscriber::fmt().event_format(cloud).with_writer(written.clone()).finish();
        tracing::subscriber::with_default(subscriber, say);
        serde_json::from_slice(&written.0.lock().expect("nobody panicked")).expect("one object")
    }

    #[test]
    fn a_line_has_the_names_that_cloud_logging_knows() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let said =
            line(Some("p"), || tracing::warn!(events = 7, late = true, error = "a \"quote\"", traceparent, "slow"));
        assert_eq!((&said["severity"], &said["message"]), (&json!("WARNING"), &json!("slow")));
        assert_eq!((&said["events"], &said["late"], &said["error"]), (&json!(7), &json!(true), &json!("a \"quote\"")));
        let trace = "projects/p/traces/0af7651916cd43dd8448eb211c80319c";
        assert_eq!(said["logging.googleapis.com/trace"], trace);
        assert_eq!(said["logging.googleapis.com/spanId"], "b7ad6b7169203331");
        assert_eq!(said["logging.googleapis.com/trace_sampled"], true);
        assert_eq!(said["logging.googleapis.com/labels"]["role"], "worker");
        let file = said["logging.googleapis.com/sourceLocation"]["file"].as_str().expect("a file");
        assert!(file.ends_with("cloud.rs"), "{file}");
        let time = said["time"].as_str().expect("a time");
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'), "{time}");
        assert!(said.get(TRACEPARENT).is_none(), "it is said once");
    }

    #[test]
    fn without_a_project_a_trace_is_named_by_its_id_and_what_is_none_names_none() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let said = line(None, || tracing::error!(traceparent, "no"));
        assert_eq!(said["logging.googleapis.com/trace"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            (&said["severity"], &said["logging.googleapis.com/trace_sampled"]),
            (&json!("ERROR"), &json!(false))
        );
        let said = line(None, || tracing::info!(traceparent = "nonsense", "no"));
        assert!(said.get("logging.googleapis.com/trace").is_none());
    }
}
