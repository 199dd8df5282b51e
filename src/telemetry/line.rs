//! A log line as text, for files and collectors: what tracing-subscriber writes, at a third of the
//! price. Every request writes one, and its own formatter took as long as an eighth of a token.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::domain::Time;

/// Writes `<time> <level> <message> <name>=<value> …` on one line, whatever the values hold.
pub(super) struct TextLine;

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // A line of a token request has about 500 bytes.
        let mut line = String::with_capacity(768);
        push_time(&mut line);
        let level = event.metadata().level().as_str();
        line.push_str(if level.len() == 4 { "  " } else { " " });
        line.push_str(level);
        event.record(&mut Fields(&mut line));
        line.push('\n');
        writer.write_str(&line)
    }
}

/// The local clock's time. The part down to the second is written once for each second.
fn push_time(line: &mut String) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    #[expect(clippy::disallowed_methods, reason = "the log shows what this machine's clock shows")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() || text.is_empty() {
            *second = now.as_secs();
            let at = Time::from_seconds(i64::try_from(*second).unwrap_or(i64::MAX));
            at.rfc3339().trim_end_matches('Z').clone_into(text);
        }
        line.push_str(text);
    });
    // Writing to a string cannot fail; the same holds below.
    let _ = write!(line, ".{:06}Z", now.subsec_micros());
}

struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    /// The name of a field, unless it is the message, which has none.
    fn name(&mut self, field: &Field) {
        self.0.push(' ');
        if field.name() != "message" {
            self.0.push_str(field.name());
            self.0.push('=');
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if !value.bytes().all(plain) {
            return self.record_debug(field, &value);
        }
        self.name(field);
        self.0.push('"');
        self.0.push_str(value);
        self.0.push('"');
    }

    // Numbers hold nothing that would have to be looked for.
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // What other libraries log brings fields about its place in their source.
        if field.name().starts_with("log.") {
            return;
        }
        self.name(field);
        let _ = write!(OneLine(self.0), "{value:?}");
    }
}

/// Lets no control character through: a value can neither begin a line of its own nor speak to the
/// terminal of whoever reads the log.
struct OneLine<'a>(&'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            self.0.push_str(text);
            return Ok(());
        }
        for character in text.chars() {
            if character.is_control() {
                self.0.extend(character.escape_default());
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What a formatter writes about some events, without the time.
    fn written(subscriber: impl Subscriber + Send + Sync + 'static, to: &Written) -> String {
        tracing::subscriber::with_default(subscriber, || {
            let none: Option<&str> = None;
            tracing::info!(text = "a \"b\" \\ c", number = 7, none, "decided");
            tracing::error!(shown = %"x y", flag = true, negative = -1, real = 1.5, "failed");
            tracing::warn!(debugged = ?Some("é\n"), "accents");
        });
        let bytes = to.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| &line[27..]).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_line_is_what_the_library_would_write() {
        let (theirs, ours) = (Written::default(), Written::default());
        let builder = || tracing_subscriber::fmt().with_ansi(false).with_target(false);
        let expected = written(builder().with_writer(theirs.clone()).finish(), &theirs);
        let line = builder().event_format(TextLine).with_writer(ours.clone()).finish();
        assert_eq!(written(line, &ours), expected);
        assert!(expected.starts_with("  INFO decided text="), "{expected}");
    }

    #[test]
    fn no_value_begins_a_line_or_speaks_to_a_terminal() {
        let to = Written::default();
        let line = tracing_subscriber::fmt().event_format(TextLine).with_writer(to.clone());
        tracing::subscriber::with_default(line.finish(), || {
            tracing::info!(error = %"a\nINFO b\u{1b}[31m\u{9b}", "failed\nagain");
        });
        let text = String::from_utf8(to.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches(|c: char| c.is_control()).count(), 1, "{text:?}");
        assert!(text.ends_with('\n'));
    }
}
