//! The first message of TLS, read for the name and the protocols it asks for. Nothing is decrypted or answered.

use super::MAX_PREFIX;

pub(super) const HANDSHAKE_RECORD: u8 = 0x16;
const CLIENT_HELLO: u8 = 0x01;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// What a client asks for before anything is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host name, in lower case without a final dot.
    pub sni: Option<Box<str>>,
    /// Protocols, the client's favourite first.
    pub alpn: Vec<Box<[u8]>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Hello(ClientHello),
    /// So far so good.
    More,
    Malformed,
}

/// Reads a ClientHello that may be spread over records (RFC 8446 section 5.1), as some clients do on purpose.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut message = Vec::new();
    let mut records = Reader(bytes);
    loop {
        match wanted(&message) {
            Wanted::Bytes(length) if message.len() >= length => {
                let hello = message.get(4..length).and_then(|body| hello(&mut Reader(body)));
                return hello.map_or(Parsed::Malformed, Parsed::Hello);
            }
            Wanted::Nothing => return Parsed::Malformed,
            _ => {}
        }
        match record(&mut records) {
            Record::Part(part) => message.extend_from_slice(part),
            Record::Unfinished(part) => {
                message.extend_from_slice(part);
                // What is there may show already that it is none.
                let none = matches!(wanted(&message), Wanted::Nothing);
                return if none { Parsed::Malformed } else { Parsed::More };
            }
            Record::Malformed => return Parsed::Malformed,
        }
    }
}

enum Wanted {
    /// The message with its header takes this many bytes (at least).
    Bytes(usize),
    /// It is no ClientHello, or too long a one.
    Nothing,
}

fn wanted(message: &[u8]) -> Wanted {
    match message {
        [CLIENT_HELLO, high, middle, low, ..] => {
            let length = 4 + u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if length > MAX_PREFIX { Wanted::Nothing } else { Wanted::Bytes(length) }
        }
        [] | [CLIENT_HELLO, ..] => Wanted::Bytes(4),
        _ => Wanted::Nothing,
    }
}

enum Record<'a> {
    Part(&'a [u8]),
    Unfinished(&'a [u8]),
    Malformed,
}

fn record<'a>(records: &mut Reader<'a>) -> Record<'a> {
    match records.0 {
        [HANDSHAKE_RECORD, 0x03, 0..=0x04, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length == 0 || length > MAX_PREFIX {
                return Record::Malformed;
            }
            match rest.split_at_checked(length) {
                Some((part, next)) => {
                    records.0 = next;
                    Record::Part(part)
                }
                None => Record::Unfinished(rest),
            }
        }
        [] | [HANDSHAKE_RECORD] | [HANDSHAKE_RECORD, 0x03] => Record::Unfinished(&[]),
        [HANDSHAKE_RECORD, 0x03, 0..=0x04, ..] => Record::Unfinished(&[]),
        _ => Record::Malformed,
    }
}

/// RFC 8446 section 4.1.2.
fn hello(body: &mut Reader<'_>) -> Option<ClientHello> {
    body.take(2 + 32)?;
    body.vector8()?;
    body.vector16()?;
    body.vector8()?;
    let mut hello = ClientHello::default();
    if body.0.is_empty() {
        // TLS 1.2 lets a client leave the extensions out.
        return Some(hello);
    }
    let mut extensions = body.vector16()?;
    if !body.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut content = extensions.vector16()?;
        match kind {
            // A second one could be read by somebody behind us.
            SERVER_NAME if hello.sni.is_some() => return None,
            SERVER_NAME => hello.sni = Some(server_name(&mut content)?),
            ALPN => hello.alpn = protocols(&mut content)?,
            _ => {}
        }
    }
    Some(hello)
}

/// RFC 6066 section 3: one entry, a host name.
fn server_name(content: &mut Reader<'_>) -> Option<Box<str>> {
    let mut list = content.vector16()?;
    let [0] = list.take(1)? else { return None };
    let name = list.vector16()?.0;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_host = (1..=253).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !is_host || !list.0.is_empty() || !content.0.is_empty() {
        return None;
    }
    Some(String::from_utf8(name.to_ascii_lowercase()).ok()?.into_boxed_str())
}

/// RFC 7301 section 3.1.
fn protocols(content: &mut Reader<'_>) -> Option<Vec<Box<[u8]>>> {
    let mut list = content.vector16()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        match list.vector8()?.0 {
            [] => return None,
            protocol => protocols.push(protocol.into()),
        }
    }
    Some(protocols)
}

/// Takes lengths and what they announce from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn vector8(&mut self) -> Option<Reader<'a>> {
        let [length] = self.take(1)? else { return None };
        self.take(usize::from(*length)).map(Reader)
    }

    fn vector16(&mut self) -> Option<Reader<'a>> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector16(content: &[u8]) -> Vec<u8> {
        [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [kind.to_be_bytes().to_vec(), vector16(content)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(SERVER_NAME, &vector16(&[&[0], vector16(name).as_slice()].concat()))
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend(vector16(extensions));
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[CLIENT_HELLO], &length[1..], &body].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[0x16, 3, 1], vector16(part).as_slice()].concat()).collect()
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Parsed) {
        assert_eq!(parse(bytes), expected);
        if matches!(expected, Parsed::Hello(_)) {
            for end in 1..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Parsed::More, "at {end} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn reads_names_and_protocols_however_they_are_split() {
        let asked = [sni(b"Shop.Example."), extension(ALPN, b"\x00\x0c\x02h2\x08http/1.1")].concat();
        let expected = ClientHello {
            sni: Some("shop.example".into()),
            alpn: vec![b"h2".as_slice().into(), b"http/1.1".as_slice().into()],
        };
        for size in [1, 3, 50, 16_384] {
            check(&records(&message(&asked), size), Parsed::Hello(expected.clone()));
        }
        check(&records(&message(&[]), 100), Parsed::Hello(ClientHello::default()));
    }

    #[test]
    fn reads_what_rustls_sends() {
        let config =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let name = "a.example".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        check(&bytes, Parsed::Hello(ClientHello { sni: Some("a.example".into()), alpn: Vec::new() }));
    }

    #[test]
    fn refuses_what_is_none() {
        let bad = |bytes: &[u8]| check(bytes, Parsed::Malformed);
        let framed = |extensions: &[u8]| records(&message(extensions), 16_384);
        bad(&[0x16, 2]);
        bad(&[0x16, 3, 9]);
        bad(&[0x16, 3, 1, 0, 0]);
        bad(&[0x16, 3, 1, 0xff, 0xff]);
        bad(&[0x16, 3, 1, 0, 5, 2, 0, 0, 1, 0]);
        bad(&[0x16, 3, 1, 0, 4, 1, 1, 0, 0]);
        bad(&framed(&[sni(b"a.example"), sni(b"b.example")].concat()));
        bad(&framed(&sni(b"")));
        bad(&framed(&sni(b"a\0b")));
        bad(&framed(&sni(&[b'a'; 254])));
        bad(&framed(&extension(ALPN, b"\x00\x01\x00")));
        bad(&framed(&extension(SERVER_NAME, &[0])));
        bad(&framed(&[0, 0, 0xff, 0xff]));
        let mut long = message(&sni(b"a.example"));
        long.extend([0; 8]);
        long[3] += 8;
        bad(&records(&long, 16_384));
    }
}
