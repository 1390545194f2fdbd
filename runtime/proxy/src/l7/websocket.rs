//! WebSocket between HTTP versions: `Upgrade` on HTTP/1.1 (RFC 6455), extended CONNECT on HTTP/2 (RFC 8441).
//!
//! Both open the same byte stream; only the handshake around it differs. The key of the HTTP/1.1 handshake proves that
//! the server speaks WebSocket, so whoever is at the HTTP/1.1 end of the translation has to take part in that proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, StatusCode, Version};
use outrigger_cluster::config::Protocol;
use outrigger_http::{RequestHead, Response};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::error::ProxyError;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What was done to a request, to be undone on its response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Translation {
    /// Both sides speak the same, or it is no WebSocket.
    None,
    /// CONNECT became `Upgrade`; the backend proves itself with this.
    ToUpgrade { accept: String },
    /// `Upgrade` became CONNECT; the client expects this proof.
    ToConnect { accept: String },
}

/// Puts a WebSocket handshake into the words the backend understands.
pub(super) fn translate(head: &mut RequestHead, backend: Protocol) -> Translation {
    let is_connect = head.protocol.as_deref() == Some("websocket");
    let is_upgrade = head.upgrade().is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    match backend {
        Protocol::Http1 if is_connect => to_upgrade(head),
        Protocol::Http2 if is_upgrade => to_connect(head),
        Protocol::Http1 | Protocol::Http2 => Translation::None,
    }
}

fn to_upgrade(head: &mut RequestHead) -> Translation {
    let key = BASE64.encode(fastrand::u128(..).to_ne_bytes());
    head.method = Method::GET;
    head.protocol = None;
    head.version = Version::HTTP_11;
    head.headers.set_static(&CONNECTION, "upgrade");
    head.headers.set_static(&UPGRADE, "websocket");
    // Base64 is a valid value.
    let _ = head.headers.set(&SEC_WEBSOCKET_KEY, &key);
    Translation::ToUpgrade { accept: accept(key.as_bytes()) }
}

fn to_connect(head: &mut RequestHead) -> Translation {
    let accept = accept(head.headers.get(&SEC_WEBSOCKET_KEY).unwrap_or_default());
    head.method = Method::CONNECT;
    head.protocol = Some("websocket".into());
    head.version = Version::HTTP_2;
    for name in [&CONNECTION, &UPGRADE, &SEC_WEBSOCKET_KEY] {
        head.headers.remove(name);
    }
    Translation::ToConnect { accept }
}

fn accept(key: &[u8]) -> String {
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

impl Translation {
    /// Puts the answer into the client's words. A server that does not prove it speaks WebSocket gets no tunnel.
    pub(super) fn undo(self, response: &mut Response) -> Result<(), ProxyError> {
        let headers = &mut response.head.headers;
        match self {
            Self::ToUpgrade { accept } if response.head.status == StatusCode::SWITCHING_PROTOCOLS => {
                if headers.get(&SEC_WEBSOCKET_ACCEPT) != Some(accept.as_bytes()) {
                    return Err(ProxyError::WebSocket);
                }
                for name in [&CONNECTION, &UPGRADE, &SEC_WEBSOCKET_ACCEPT] {
                    headers.remove(name);
                }
                response.head.status = StatusCode::OK;
            }
            // To a client that connects, any success is a tunnel.
            Self::ToUpgrade { .. } if response.head.status.is_success() => {
                return Err(ProxyError::WebSocket);
            }
            Self::ToConnect { accept } if response.tunnel.is_some() => {
                headers.set_static(&UPGRADE, "websocket");
                headers.set_static(&CONNECTION, "upgrade");
                let _ = headers.set(&SEC_WEBSOCKET_ACCEPT, accept);
                response.head.status = StatusCode::SWITCHING_PROTOCOLS;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outrigger_http::{Body, ResponseHead};

    use super::*;
    use crate::action::authority;

    #[test]
    fn the_proof_is_that_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_success_without_a_websocket_is_no_tunnel() {
        let undo = |status| {
            let translation = Translation::ToUpgrade { accept: accept(b"key") };
            let mut response = Response::new(ResponseHead::new(status), Body::empty());
            translation.undo(&mut response)
        };
        assert!(matches!(undo(StatusCode::OK), Err(ProxyError::WebSocket)));
        assert!(undo(StatusCode::FORBIDDEN).is_ok());
    }

    #[test]
    fn there_and_back_is_the_same_request() {
        let mut head = RequestHead::new(Method::CONNECT, authority("a").unwrap(), "/chat");
        head.protocol = Some("websocket".into());
        head.version = Version::HTTP_2;
        assert_eq!(translate(&mut head, Protocol::Http2), Translation::None);
        let Translation::ToUpgrade { accept } = translate(&mut head, Protocol::Http1) else { panic!() };
        assert_eq!((&head.method, head.upgrade()), (&Method::GET, Some("websocket")));
        assert_eq!(translate(&mut head, Protocol::Http1), Translation::None);
        assert_eq!(translate(&mut head, Protocol::Http2), Translation::ToConnect { accept });
        assert_eq!((&head.method, head.protocol.as_deref()), (&Method::CONNECT, Some("websocket")));
        assert!(head.headers.is_empty());
    }
}
