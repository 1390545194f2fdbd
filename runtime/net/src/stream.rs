//! The one stream type: TCP, Unix, or TLS over either.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::rustls;

use crate::{Address, Peer, Rewind};

/// A connection. An enum and not a trait object, so that a plain read or write goes straight to the socket.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// We are the TLS server.
    Tls(Box<tokio_rustls::server::TlsStream<Rewind<Stream>>>),
    /// We are the TLS client.
    TlsClient(Box<tokio_rustls::client::TlsStream<Stream>>),
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// For the whole of it, TLS included. Default 5 s.
    pub timeout: Duration,
    /// TLS inside the connection, with what the certificate must be for.
    pub tls: Option<(Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>)>,
    /// The local address to connect from.
    pub source: Option<SocketAddr>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), tls: None, source: None }
    }
}

impl Stream {
    /// Connects; fails with [`io::ErrorKind::TimedOut`] when it takes longer than the options allow.
    pub async fn connect(address: &Address, options: &ConnectOptions) -> io::Result<Self> {
        let connecting = async {
            let plain = Self::connect_plain(address, options.source).await?;
            match &options.tls {
                None => Ok(plain),
                Some((config, name)) => crate::tls::connect(plain, Arc::clone(config), name.clone()).await,
            }
        };
        tokio::time::timeout(options.timeout, connecting).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection to {address} within {:?}", options.timeout),
            ))
        })
    }

    async fn connect_plain(address: &Address, source: Option<SocketAddr>) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.set_nodelay(true)?;
                if let Some(source) = source {
                    socket.bind(source)?;
                }
                Ok(Self::Tcp(socket.connect(*address).await?))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// The socket's peer. A system call: connections from a listener have it in `ConnInfo`.
    pub fn peer(&self) -> io::Result<Peer> {
        match self {
            Self::Tcp(tcp) => tcp.peer_addr().map(Peer::Tcp),
            Self::Unix(_) => Ok(Peer::Unix),
            Self::Tls(tls) => tls.get_ref().0.get_ref().peer(),
            Self::TlsClient(tls) => tls.get_ref().0.peer(),
        }
    }

    /// The socket's own address. A system call; a Unix socket has none where it connects.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(tls) => tls.get_ref().0.get_ref().local(),
            Self::TlsClient(tls) => tls.get_ref().0.local(),
        }
    }

    /// Whether a read might find something, the end of the stream included; `true` where only a read can tell.
    /// Asks nobody to be woken, and costs no system call.
    #[inline]
    pub fn may_be_readable(&self) -> bool {
        // The operation does nothing: it is run when the runtime knows of something to read, and otherwise not.
        let known = match self {
            Self::Tcp(tcp) => tcp.try_io(Interest::READABLE, || Ok(())),
            Self::Unix(unix) => unix.try_io(Interest::READABLE, || Ok(())),
            Self::Tls(_) | Self::TlsClient(_) => return true,
        };
        known.is_ok()
    }

    /// Whether bytes are encrypted on the way.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::TlsClient(_))
    }

    /// The version of TLS agreed in the handshake.
    pub fn tls_version(&self) -> Option<&'static str> {
        let version = match self {
            Self::Tcp(_) | Self::Unix(_) => return None,
            Self::Tls(tls) => tls.get_ref().1.protocol_version(),
            Self::TlsClient(tls) => tls.get_ref().1.protocol_version(),
        };
        Some(match version {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "unknown",
        })
    }

    /// The protocol agreed in the TLS handshake.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol(),
            Self::TlsClient(tls) => tls.get_ref().1.alpn_protocol(),
        }
    }

    /// Makes `close` send a reset instead of an orderly end, to be rid of an abuser without a lingering socket.
    pub fn reset_on_close(&self) {
        match self {
            Self::Tcp(tcp) => {
                // The socket is closed right after; there is nobody left to tell of a failure.
                let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
            }
            Self::Unix(_) => {}
            Self::Tls(tls) => tls.get_ref().0.get_ref().reset_on_close(),
            Self::TlsClient(tls) => tls.get_ref().0.reset_on_close(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::TlsClient($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        // All four variants are.
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
