//! Pieces of any size become messages of one size.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream, stream::Fuse};
use outrigger_blocks::{FileBody, Result};

/// What one message carries, as in Layotto.
const CHUNK: usize = 102_400;

/// The same bytes in chunks; only the last is shorter, and none is empty. At most one chunk is held. May be asked again
/// after its end, which tonic does.
pub(super) fn of(body: FileBody) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::unfold(Some(Chunks { body: body.fuse(), left: Bytes::new() }), |chunks| async {
        let mut chunks = chunks?;
        match chunks.next().await {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => Some((Ok(chunk), Some(chunks))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .fuse()
}

struct Chunks {
    body: Fuse<FileBody>,
    /// What the last piece had too much.
    left: Bytes,
}

impl Chunks {
    /// A whole chunk, or what remains.
    async fn next(&mut self) -> Result<Bytes> {
        // A piece that is large enough is cut, not copied.
        if self.left.len() >= CHUNK {
            return Ok(self.left.split_to(CHUNK));
        }
        let mut chunk = BytesMut::new();
        loop {
            let wanted = CHUNK - chunk.len();
            if chunk.is_empty() && self.left.len() >= wanted {
                return Ok(self.left.split_to(wanted));
            }
            let taken = wanted.min(self.left.len());
            chunk.extend_from_slice(self.left.get(..taken).unwrap_or_default());
            self.left.advance(taken);
            if chunk.len() == CHUNK {
                return Ok(chunk.freeze());
            }
            match self.body.next().await {
                Some(piece) => self.left = piece?,
                None => return Ok(chunk.freeze()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use outrigger_blocks::{Error, ErrorKind};

    use super::*;

    /// Panics when it is asked again after its end, as a body may.
    fn body(pieces: &[usize]) -> FileBody {
        let mut at = 0;
        let pieces = pieces.iter().map(|length| {
            let piece: Bytes = (at..at + length).map(|byte| byte as u8).collect();
            at += length;
            Ok(piece)
        });
        let pieces = pieces.collect::<Vec<_>>().into_iter();
        Box::pin(stream::unfold(pieces, |mut pieces| async { Some((pieces.next()?, pieces)) }))
    }

    #[tokio::test]
    async fn the_bytes_stay_and_the_cuts_move() {
        let check = async |pieces: &[usize], expected: &[usize]| {
            let chunks: Vec<Bytes> = of(body(pieces)).try_collect().await.unwrap();
            assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), expected, "{pieces:?}");
            let bytes = chunks.concat();
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8), "{pieces:?}");
        };
        check(&[], &[]).await;
        check(&[0, 0], &[]).await;
        check(&[CHUNK], &[CHUNK]).await;
        check(&[CHUNK, CHUNK, 1], &[CHUNK, CHUNK, 1]).await;
        check(&[1, 2, 3], &[6]).await;
        check(&[CHUNK - 1, 3], &[CHUNK, 2]).await;
        check(&[5 * CHUNK + 7, 0, CHUNK], &[CHUNK, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK, 7]).await;
        check(&[70_000; 3], &[CHUNK, CHUNK, 5_200]).await;
    }

    #[tokio::test]
    async fn an_error_ends_it() {
        let failing = Box::pin(body(&[10]).chain(stream::iter([Err(Error::unavailable("gone"))])));
        let mut chunks = std::pin::pin!(of(failing));
        let error = chunks.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(chunks.next().await.is_none());
        assert!(chunks.next().await.is_none());
    }
}
