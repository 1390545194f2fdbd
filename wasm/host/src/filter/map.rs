//! Header maps as they cross the border: a count, the lengths of all pairs, then names and values, each with a NUL.

use super::abi::Status;
use crate::limits::{MAP_BYTES, MAP_PAIRS};

/// A name and a value.
pub(crate) type Pair<'p> = (&'p [u8], &'p [u8]);

/// How long [`encode`]'s result is.
pub(crate) fn size(pairs: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> usize {
    pairs.iter().fold(4, |sum, (name, value)| sum + name.as_ref().len() + value.as_ref().len() + 10)
}

pub(crate) fn encode(pairs: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = Vec::with_capacity(size(pairs));
    out.extend(number(pairs.len()));
    for (name, value) in pairs {
        out.extend(number(name.as_ref().len()));
        out.extend(number(value.as_ref().len()));
    }
    for (name, value) in pairs {
        out.extend_from_slice(name.as_ref());
        out.push(0);
        out.extend_from_slice(value.as_ref());
        out.push(0);
    }
    out
}

/// Reads what a guest wrote. No bytes, and a single zero, are the empty map.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Status> {
    if bytes.is_empty() || bytes == [0] {
        return Ok(Vec::new());
    }
    if bytes.len() > MAP_BYTES {
        return Err(Status::BadArgument);
    }
    let (count, mut lengths) = number(bytes)?;
    if count > MAP_PAIRS {
        return Err(Status::BadArgument);
    }
    let mut texts = lengths.get(count * 8..).ok_or(Status::ParseFailure)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, rest) = number(lengths)?;
        let (value, rest) = number(rest)?;
        lengths = rest;
        let (name, rest) = terminated(texts, name)?;
        let (value, rest) = terminated(rest, value)?;
        texts = rest;
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn number(bytes: &[u8]) -> Result<(usize, &[u8]), Status> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(Status::ParseFailure)?;
    Ok((u32::from_le_bytes(*number) as usize, rest))
}

fn terminated(bytes: &[u8], length: usize) -> Result<Pair<'_>, Status> {
    let (text, rest) = bytes.split_at_checked(length).ok_or(Status::ParseFailure)?;
    Ok((text, rest.strip_prefix(&[0]).ok_or(Status::ParseFailure)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let pairs: Vec<Pair<'_>> = vec![(b":path", b"/"), (b"a", b""), (b"a", b"x\0y")];
        let bytes = encode(&pairs);
        assert_eq!(bytes.len(), size(&pairs));
        assert_eq!(decode(&bytes).unwrap(), pairs);
        assert_eq!(decode(&[0; 4]).unwrap(), []);
        assert_eq!((decode(&[]).unwrap(), decode(&[0]).unwrap()), (vec![], vec![]));
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        let good = encode(&[(b"name", b"value")]);
        for cut in 1..good.len() {
            assert!(decode(&good[..cut]).is_err(), "{cut}");
        }
        for (at, value) in [(0, 2), (0, u32::MAX), (4, u32::MAX), (8, 6), (8, u32::MAX)] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(decode(&bad).is_err(), "{at} {value}");
        }
        assert_eq!(decode(&vec![0; MAP_BYTES + 1]), Err(Status::BadArgument));
    }
}
