//! A guest's standard output and error: line by line into its journal.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::journal::{Journal, Kind};
use super::words::Words;
use crate::limits::LOG_LINE;

/// One of the two, of one instance. What was begun and not ended is told at its end.
#[derive(Clone)]
pub(crate) struct Output(Arc<Line>);

struct Line {
    kind: Kind,
    journal: Arc<Journal>,
    /// Where lines may be the guest's last words.
    words: Option<Words>,
    begun: Mutex<Vec<u8>>,
}

impl Output {
    pub(crate) fn new(kind: Kind, journal: Arc<Journal>, words: Option<Words>) -> Self {
        Self(Arc::new(Line { kind, journal, words, begun: Mutex::default() }))
    }

    /// Some write a line in many pieces. One that does not end is written as far as a line may go.
    fn print(&self, text: &[u8]) {
        let mut line = self.0.begun.lock();
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LOG_LINE) {
                line.extend_from_slice(part);
                if line.ends_with(b"\n") || line.len() >= LOG_LINE {
                    self.0.write(&std::mem::take(&mut *line));
                }
            }
        }
    }
}

impl Line {
    fn write(&self, line: &[u8]) {
        let line = line.trim_ascii_end();
        if !line.is_empty() {
            let line = String::from_utf8_lossy(line);
            if let Some(words) = &self.words {
                words.stderr(&line);
            }
            self.journal.write(self.kind, &line);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = std::mem::take(self.begun.get_mut());
        self.write(&line);
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_LINE)
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use outrigger_blocks::function::FunctionLog;

    use super::*;

    #[test]
    fn pieces_become_lines_and_the_last_one_is_told_at_the_end() {
        let log = Arc::new(FunctionLog::default());
        let journal = Arc::new(Journal::new("f".into(), "v".into(), Arc::clone(&log)));
        let words = Words::default();
        let output = Output::new(Kind::Stderr, journal, Some(words.clone()));
        output.print(b"one\ntw");
        output.print(b"o\r\n\n");
        output.print(&vec![b'x'; LOG_LINE + 3]);
        let lines = || log.after(0).iter().map(|line| line.text.clone()).collect::<Vec<_>>();
        assert_eq!(lines(), ["one", "two", &"x".repeat(LOG_LINE)]);
        drop(output);
        assert_eq!(lines()[3], "xxx");
        assert_eq!((words.take().as_deref(), words.take()), (Some("xxx"), None));
    }
}
