//! Header maps: what a guest reads and changes of heads and trailers.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use outrigger_http::{Authority, FieldName, Headers, RequestHead, ResponseHead, Scheme};

use super::abi::{Map, Side, Status};
use super::map::{self, Pair};
use super::memory::{Answer, Guest, Place, Span, both, bytes, give, length, put_u32};
use super::state::State;
use super::stream::{At, Message, Stream};
use crate::limits::{MAP_BYTES, MAP_PAIRS};

pub(crate) type Field<'f> = (Cow<'f, [u8]>, Cow<'f, [u8]>);

/// A change of a map.
enum Edit<'e> {
    Add(&'e [u8], &'e [u8]),
    Replace(&'e [u8], &'e [u8]),
    Remove(&'e [u8]),
    All(Vec<Pair<'e>>),
}

pub(crate) fn get_size(guest: &mut Guest<'_>, number: u32, at: u32) -> Answer {
    let size = map::size(&fields(guest.data(), Map::of(number)?)?);
    Ok(put_u32(guest, at, u32::try_from(size).unwrap_or(u32::MAX))?)
}

pub(crate) fn get_pairs(guest: &mut Guest<'_>, number: u32, place: Place) -> Answer {
    let encoded = map::encode(&fields(guest.data(), Map::of(number)?)?);
    give(guest, &encoded, place)
}

pub(crate) fn set_pairs(guest: &mut Guest<'_>, number: u32, pairs: Span) -> Answer {
    let map = Map::of(number)?;
    let (memory, state) = both(guest)?;
    Ok(edit(state, map, Edit::All(map::decode(pairs.of(memory)?)?))?)
}

/// All values of a name, with commas between them. A name that is missing is an empty value to 0.1.0.
pub(crate) fn get_value(guest: &mut Guest<'_>, number: u32, name: Span, place: Place) -> Answer {
    let map = Map::of(number)?;
    let name = bytes(guest, name)?.to_ascii_lowercase();
    let fields = fields(guest.data(), map)?;
    let mut values = fields.iter().filter(|(known, _)| **known == *name).map(|(_, value)| &**value);
    let value = match (values.next(), guest.data().version) {
        (Some(first), _) => values.fold(first.to_vec(), |all, value| [&all, b",".as_slice(), value].concat()),
        (None, super::abi::Version::V0_1_0) => Vec::new(),
        (None, _) => return Err(Status::NotFound.into()),
    };
    give(guest, &value, place)
}

pub(crate) fn add(guest: &mut Guest<'_>, number: u32, name: Span, value: Span) -> Answer {
    let map = Map::of(number)?;
    let (memory, state) = both(guest)?;
    Ok(edit(state, map, Edit::Add(name.of(memory)?, value.of(memory)?))?)
}

pub(crate) fn replace(guest: &mut Guest<'_>, number: u32, name: Span, value: Span) -> Answer {
    let map = Map::of(number)?;
    let (memory, state) = both(guest)?;
    Ok(edit(state, map, Edit::Replace(name.of(memory)?, value.of(memory)?))?)
}

pub(crate) fn remove(guest: &mut Guest<'_>, number: u32, name: Span) -> Answer {
    let map = Map::of(number)?;
    let (memory, state) = both(guest)?;
    Ok(edit(state, map, Edit::Remove(name.of(memory)?))?)
}

/// How many fields a head has, as callbacks are told.
pub(crate) fn count(stream: &Stream, side: Side) -> u32 {
    let fields = |line: usize, headers: &Headers| line + headers.len() - headers.get_all(&HOST).count();
    let count = match side {
        Side::Request => stream.request.head.as_ref().map(|head| fields(4, &head.headers)),
        Side::Response => stream.response.head.as_ref().map(|head| fields(1, &head.headers)),
    };
    length(count.unwrap_or_default())
}

fn fields(state: &State, map: Map) -> Result<Vec<Field<'_>>, Status> {
    match map {
        Map::RequestHeaders => state.stream()?.request.head.as_ref().map(of_request).ok_or(Status::NotFound),
        Map::ResponseHeaders => {
            state.stream()?.response.head.as_ref().map(of_response).ok_or(Status::NotFound)
        }
        Map::RequestTrailers => of_trailers(state.stream()?.request.trailers.as_ref()),
        Map::ResponseTrailers => of_trailers(state.stream()?.response.trailers.as_ref()),
        Map::CallHeaders | Map::GrpcInitial => {
            state.calls.arrived().map(|arrived| of_pairs(&arrived.headers))
        }
        Map::CallTrailers | Map::GrpcTrailing => {
            state.calls.arrived().map(|arrived| of_pairs(&arrived.trailers))
        }
    }
}

fn of_request(head: &RequestHead) -> Vec<Field<'_>> {
    let pseudo = request_line(head).map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()));
    pseudo.into_iter().chain(of_headers(&head.headers)).collect()
}

fn request_line(head: &RequestHead) -> [(&'static str, &str); 4] {
    [
        (":authority", head.authority()),
        (":path", head.path_and_query()),
        (":method", head.method.as_str()),
        (":scheme", head.scheme.as_str()),
    ]
}

fn of_response(head: &ResponseHead) -> Vec<Field<'_>> {
    let status: Field<'_> = (b":status".into(), Cow::Owned(head.status.as_str().as_bytes().to_vec()));
    std::iter::once(status).chain(of_headers(&head.headers)).collect()
}

fn of_headers(headers: &Headers) -> impl Iterator<Item = Field<'_>> {
    regular(headers).map(|(name, value)| (lower(name), Cow::Borrowed(value)))
}

/// The host is told as the authority.
fn regular(headers: &Headers) -> impl Iterator<Item = Pair<'_>> {
    headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"host"))
}

fn lower(name: &[u8]) -> Cow<'_, [u8]> {
    if name.iter().any(u8::is_ascii_uppercase) { name.to_ascii_lowercase().into() } else { name.into() }
}

fn of_trailers(trailers: Option<&HeaderMap>) -> Result<Vec<Field<'_>>, Status> {
    let trailers = trailers.ok_or(Status::NotFound)?;
    Ok(trailers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes().into(), value.as_bytes().into()))
        .collect())
}

fn of_pairs(pairs: &[(Bytes, Bytes)]) -> Vec<Field<'_>> {
    pairs.iter().map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(&**value))).collect()
}

fn edit(state: &mut State, map: Map, edit: Edit<'_>) -> Result<(), Status> {
    let stream = state.stream_mut()?;
    match map {
        Map::RequestHeaders => in_head(&mut stream.request, |head| edit_request(head, &edit)),
        Map::ResponseHeaders => in_head(&mut stream.response, |head| edit_response(head, &edit)),
        Map::RequestTrailers => in_trailers(&mut stream.request, &edit),
        Map::ResponseTrailers => in_trailers(&mut stream.response, &edit),
        // Answers to calls are to be read.
        Map::CallHeaders | Map::CallTrailers | Map::GrpcInitial | Map::GrpcTrailing => {
            Err(Status::BadArgument)
        }
    }
}

/// A head that has left cannot be changed any more. A change that is refused leaves it as it is.
fn in_head<H>(
    message: &mut Message<H>,
    edit: impl FnOnce(&mut H) -> Result<(), Status>,
) -> Result<(), Status> {
    if message.at != At::Head && !message.head_waits {
        return Err(Status::BadArgument);
    }
    edit(message.head.as_mut().ok_or(Status::NotFound)?)
}

fn in_trailers<H>(message: &mut Message<H>, edit: &Edit<'_>) -> Result<(), Status> {
    if !matches!(message.at, At::Body | At::Trailers) {
        return Err(Status::BadArgument);
    }
    // While the body is shown, trailers can be put after its end.
    let mut trailers = message.trailers.clone().unwrap_or_default();
    edit_map(&mut trailers, edit)?;
    message.trailers = Some(trailers);
    Ok(())
}

fn edit_request(head: &mut RequestHead, edit: &Edit<'_>) -> Result<(), Status> {
    match edit {
        Edit::Remove(b":authority" | b":path" | b":method" | b":scheme") => Err(Status::BadArgument),
        Edit::Add(name, value) | Edit::Replace(name, value) if is_of_request_line(name) => {
            set_in_request_line(head, name, value)
        }
        Edit::All(pairs) => {
            let mut next = RequestHead { headers: Headers::new(), ..head.clone() };
            for (name, value) in pairs {
                if is_of_request_line(name) {
                    set_in_request_line(&mut next, name, value)?;
                } else {
                    append(&mut next.headers, name, value)?;
                }
            }
            *head = next;
            Ok(())
        }
        edit => edit_headers(&mut head.headers, edit),
    }
}

fn is_of_request_line(name: &[u8]) -> bool {
    name.starts_with(b":") || name.eq_ignore_ascii_case(b"host")
}

/// What is there already is never refused, though it be `*`: a guest may set what it has got.
fn set_in_request_line(head: &mut RequestHead, name: &[u8], value: &[u8]) -> Result<(), Status> {
    if request_line(head).iter().any(|(known, now)| known.as_bytes() == name && now.as_bytes() == value) {
        return Ok(());
    }
    let value = Bytes::copy_from_slice(value);
    match name {
        b":path" => return head.set_path_and_query(value).map_err(|_| Status::BadArgument),
        b":method" => head.method = Method::from_bytes(&value).map_err(|_| Status::BadArgument)?,
        b":scheme" if value == "http" => head.scheme = Scheme::Http,
        b":scheme" if value == "https" => head.scheme = Scheme::Https,
        name if name == b":authority" || name.eq_ignore_ascii_case(b"host") => {
            head.authority = Authority::parse(value).map_err(|_| Status::BadArgument)?;
        }
        _ => return Err(Status::BadArgument),
    }
    Ok(())
}

fn edit_response(head: &mut ResponseHead, edit: &Edit<'_>) -> Result<(), Status> {
    match edit {
        Edit::Add(b":status", value) | Edit::Replace(b":status", value) => set_status(head, value),
        Edit::All(pairs) => {
            let mut next = ResponseHead { headers: Headers::new(), ..head.clone() };
            for (name, value) in pairs {
                if *name == b":status" {
                    set_status(&mut next, value)?;
                } else {
                    append(&mut next.headers, name, value)?;
                }
            }
            *head = next;
            Ok(())
        }
        edit => edit_headers(&mut head.headers, edit),
    }
}

/// A 101 is the server's to give, and may stay.
fn set_status(head: &mut ResponseHead, value: &[u8]) -> Result<(), Status> {
    let status = StatusCode::from_bytes(value).map_err(|_| Status::BadArgument)?;
    if status == head.status {
        return Ok(());
    }
    if status.as_u16() < 200 {
        return Err(Status::BadArgument);
    }
    // The phrase was that of the other status.
    (head.status, head.reason) = (status, None);
    Ok(())
}

fn edit_headers(headers: &mut Headers, edit: &Edit<'_>) -> Result<(), Status> {
    match edit {
        Edit::Remove(name) => {
            if let Some(name) = FieldName::of(name) {
                headers.remove_field(name);
            }
            Ok(())
        }
        Edit::Add(name, value) => {
            has_room_in(headers, |_| true, name, value)?;
            append(headers, name, value)
        }
        Edit::Replace(name, value) => {
            has_room_in(headers, |known| !known.eq_ignore_ascii_case(name), name, value)?;
            let name = FieldName::of(name).ok_or(Status::BadArgument)?;
            headers.set_field(name, value).map_err(|_| Status::BadArgument)
        }
        Edit::All(_) => Err(Status::InternalFailure),
    }
}

fn append(headers: &mut Headers, name: &[u8], value: &[u8]) -> Result<(), Status> {
    let name = FieldName::of(name).ok_or(Status::BadArgument)?;
    headers.append_field(name, value).map_err(|_| Status::BadArgument)
}

/// Whether one more pair fits beside those that stay. Nearly always it does beside all there are, which is seen at once.
fn has_room_in(
    headers: &Headers,
    stays: impl Fn(&[u8]) -> bool,
    name: &[u8],
    value: &[u8],
) -> Result<(), Status> {
    let bytes = headers.bytes_at_most() + name.len() + value.len();
    if headers.len() < MAP_PAIRS && bytes <= MAP_BYTES {
        return Ok(());
    }
    has_room(headers.iter().filter(|(known, _)| stays(known)), name, value)
}

/// Whether one more pair fits beside the others. A whole map was measured when it was decoded.
fn has_room<'f>(
    others: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    name: &[u8],
    value: &[u8],
) -> Result<(), Status> {
    let one = (1, name.len() + value.len());
    let (pairs, bytes) =
        others.fold(one, |(pairs, bytes), (name, value)| (pairs + 1, bytes + name.len() + value.len()));
    if pairs <= MAP_PAIRS && bytes <= MAP_BYTES { Ok(()) } else { Err(Status::BadArgument) }
}

fn edit_map(map: &mut HeaderMap, edit: &Edit<'_>) -> Result<(), Status> {
    let pair = |name: &[u8], value: &[u8]| {
        let name = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
        Ok((name, HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?))
    };
    match edit {
        Edit::Remove(name) => {
            if let Ok(name) = HeaderName::from_bytes(name) {
                map.remove(name);
            }
        }
        Edit::Add(name, value) => {
            has_room(pairs_of(map), name, value)?;
            let (name, value) = pair(name, value)?;
            map.append(name, value);
        }
        Edit::Replace(name, value) => {
            has_room(pairs_of(map).filter(|(known, _)| !known.eq_ignore_ascii_case(name)), name, value)?;
            let (name, value) = pair(name, value)?;
            map.insert(name, value);
        }
        Edit::All(pairs) => {
            map.clear();
            for (name, value) in pairs {
                let (name, value) = pair(name, value)?;
                map.append(name, value);
            }
        }
    }
    Ok(())
}

fn pairs_of(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use outrigger_http::Target;

    use super::*;

    fn request() -> RequestHead {
        let mut head = RequestHead::new(Method::GET, "a.example".parse().unwrap(), "/p?q");
        head.headers = Headers::new();
        head.headers.append(&HeaderName::from_static("x-one"), "1").unwrap();
        head
    }

    #[test]
    fn the_request_line_is_part_of_the_map() {
        let mut head = request();
        let names = |head: &RequestHead| {
            of_request(head)
                .iter()
                .map(|(name, _)| String::from_utf8(name.to_vec()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&head), [":authority", ":path", ":method", ":scheme", "x-one"]);
        assert_eq!(of_request(&head).len(), 4 + regular(&head.headers).count());
        edit_request(&mut head, &Edit::Replace(b":path", b"/new")).unwrap();
        edit_request(&mut head, &Edit::Add(b"Host", b"b.example")).unwrap();
        edit_request(&mut head, &Edit::Replace(b":method", b"PUT")).unwrap();
        assert_eq!(
            (head.path_and_query(), head.authority(), head.method.as_str()),
            ("/new", "b.example", "PUT")
        );
        for (name, value) in
            [(":path", "new"), (":path", "/a b"), (":authority", "a/b"), (":method", "A B"), (":x", "")]
        {
            let edit = Edit::Replace(name.as_bytes(), value.as_bytes());
            assert_eq!(edit_request(&mut head, &edit), Err(Status::BadArgument), "{name} {value}");
        }
        let all = Edit::All(vec![(b":path", b"/all"), (b"x-two", b"2"), (b"x-two", b"3")]);
        edit_request(&mut head, &all).unwrap();
        assert_eq!(names(&head), [":authority", ":path", ":method", ":scheme", "x-two", "x-two"]);
    }

    #[test]
    fn a_value_cannot_become_a_line() {
        let mut head = request();
        for edit in [Edit::Add(b"a", b"x\r\nb: c"), Edit::Replace(b"a b", b"x"), Edit::Add(b"", b"x")] {
            assert_eq!(edit_request(&mut head, &edit), Err(Status::BadArgument));
        }
        assert_eq!(head.headers.len(), 1);
        let mut map = HeaderMap::new();
        assert_eq!(edit_map(&mut map, &Edit::Add(b"a", b"x\n")), Err(Status::BadArgument));
    }

    #[test]
    fn what_is_there_can_be_set_again() {
        let mut head = request();
        (head.method, head.target) = (Method::OPTIONS, Target::Asterisk);
        let owned = |fields: Vec<Field<'_>>| {
            fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>()
        };
        let before = owned(of_request(&head));
        let same = before.iter().map(|(name, value)| (&**name, &**value)).collect();
        edit_request(&mut head, &Edit::All(same)).unwrap();
        assert_eq!((owned(of_request(&head)), &head.target), (before, &Target::Asterisk));

        let mut head = ResponseHead::new(StatusCode::SWITCHING_PROTOCOLS);
        let all = Edit::All(vec![(b":status", b"101"), (b"upgrade", b"websocket")]);
        edit_response(&mut head, &all).unwrap();
        assert_eq!((head.status.as_u16(), head.headers.len()), (101, 1));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        for bad in [(":path", "none"), ("a b", ""), ("x-two", "\n"), (":method", " ")] {
            let mut head = request();
            let (name, value) = (bad.0.as_bytes(), bad.1.as_bytes());
            let all = Edit::All(vec![(b":path", b"/new"), (b"x-two", b"2"), (name, value)]);
            assert_eq!(edit_request(&mut head, &all), Err(Status::BadArgument), "{bad:?}");
            assert_eq!((head.path_and_query(), head.headers.len()), ("/p?q", 1), "{bad:?}");
            assert!(head.headers.contains(&HeaderName::from_static("x-one")));
        }
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.append(&HeaderName::from_static("x-one"), "1").unwrap();
        let all = Edit::All(vec![(b":status", b"404"), (b"x-two", b"2"), (b":status", b"100")]);
        assert_eq!(edit_response(&mut head, &all), Err(Status::BadArgument));
        assert_eq!((head.status.as_u16(), head.headers.len()), (200, 1));
    }

    #[test]
    fn a_map_cannot_grow_without_end() {
        let big = vec![b'x'; MAP_BYTES / 4];
        let names = [b"a", b"b", b"c", b"d", b"e"];
        let outcomes = |edit: &mut dyn FnMut(&Edit<'_>) -> Result<(), Status>| {
            let added = names.map(|name| edit(&Edit::Replace(name, &big)).is_ok());
            // What takes the place of as much is no growth.
            assert_eq!(edit(&Edit::Replace(b"A", &big)), Ok(()));
            assert_eq!(edit(&Edit::Add(b"a", &big)), Err(Status::BadArgument));
            added
        };
        let (mut headers, mut map) = (Headers::new(), HeaderMap::new());
        let first_three = [true, true, true, false, false];
        assert_eq!(outcomes(&mut |edit| edit_headers(&mut headers, edit)), first_three);
        assert_eq!(outcomes(&mut |edit| edit_map(&mut map, edit)), first_three);

        let mut headers = Headers::new();
        for number in 0..=MAP_PAIRS {
            let name = format!("n{number}");
            let added = edit_headers(&mut headers, &Edit::Replace(name.as_bytes(), b""));
            assert_eq!(added.is_ok(), number < MAP_PAIRS, "{number}");
        }
    }

    #[test]
    fn a_status_is_one() {
        let mut head = ResponseHead::new(StatusCode::OK);
        edit_response(&mut head, &Edit::Replace(b":status", b"404")).unwrap();
        assert_eq!(head.status, 404);
        for bad in ["100", "20", "x", ""] {
            assert!(edit_response(&mut head, &Edit::Replace(b":status", bad.as_bytes())).is_err(), "{bad}");
        }
    }
}
