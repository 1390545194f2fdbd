//! The application's output, line by line, with a name in front.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

const PREFIX: &[u8] = b"app \xe2\x94\x82 ";
/// A line longer than this is cut into several.
const LONGEST: u64 = 64 * 1024;

/// Copies lines until the end. When nobody reads our output any more, the application's is still drained, so that
/// it does not block on a full pipe.
pub(super) async fn pump(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut from = BufReader::new(from);
    let mut line = Vec::with_capacity(256);
    let mut read_by_somebody = true;
    loop {
        line.clear();
        line.extend_from_slice(PREFIX);
        match (&mut from).take(LONGEST).read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return tracing::warn!(%error, "the app's output cannot be read"),
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        if read_by_somebody && let Err(error) = write(&mut to, &line).await {
            tracing::warn!(%error, "the app's output cannot be passed on");
            read_by_somebody = false;
        }
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> std::io::Result<()> {
    to.write_all(line).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_line_has_a_name_in_front() {
        let long = vec![b'x'; LONGEST as usize + 1];
        let cases: [(&[u8], usize, &[u8]); 4] = [
            (b"one\ntwo\n", 2, b"one\n"),
            (b"no end", 1, b"no end\n"),
            (b"\xff\xfe\n", 1, b"\xff\xfe\n"),
            (&long, 2, &[&long[..LONGEST as usize], b"\n"].concat()),
        ];
        for (input, lines, first) in cases {
            let mut out = Vec::new();
            pump(input, &mut out).await;
            assert_eq!(out.iter().filter(|b| **b == b'\n').count(), lines);
            assert!(out.starts_with(&[PREFIX, first].concat()), "{:?}", String::from_utf8_lossy(&out[..40]));
        }
    }
}
