//! A line of the log: `time`, `level`, `msg`, `target`, then the fields of the spans around the event,
//! outermost first, then its own.
//!
//! Invariant: a line is one write, so that lines of threads never mix, and its keys are unique: an
//! inner field takes the place of an outer one of the same name.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes events as JSON.
pub(super) struct JsonLayer<W> {
    out: Mutex<W>,
}

impl JsonLayer<std::io::Stdout> {
    pub(super) fn stdout() -> Self {
        Self { out: Mutex::new(std::io::stdout()) }
    }
}

/// Fields of a span, kept with it.
struct SpanFields(Map<String, Value>);

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl<S, W> Layer<S> for JsonLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Map::new();
        attributes.record(&mut Fields(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut Fields(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        line.insert("time".into(), now.into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("msg".into(), "".into());
        line.insert("target".into(), event.metadata().target().into());
        for span in
            context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        event.record(&mut Fields(&mut line));
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        // There is nobody to tell that the log cannot be written.
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::{info, info_span};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_the_reference() {
        let buffer = Buffer::default();
        let layer = JsonLayer { out: Mutex::new(buffer.clone()) };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span =
                info_span!("request", request_id = "r1", backend = "outer", status = tracing::field::Empty);
            let _entered = span.enter();
            span.record("status", 507);
            let error: Box<dyn std::error::Error> = "broken".into();
            info!(backend = "b1", operation = "PutObject", bytes = 5_u64, error = error, "said \"so\"");
            crate::audit!("test.Line", key = "k");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let line = &lines[0];
        for (name, value) in [
            ("level", Value::from("INFO")),
            ("msg", "said \"so\"".into()),
            ("request_id", "r1".into()),
            ("backend", "b1".into()),
            ("operation", "PutObject".into()),
            ("bytes", 5.into()),
            ("status", 507.into()),
            ("error", "broken".into()),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        let audit = &lines[1];
        assert_eq!((&audit["audit"], &audit["msg"]), (&true.into(), &"test.Line".into()));
        assert_eq!(audit["request_id"], "r1");
    }
}
