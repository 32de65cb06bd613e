//! The two messages of `grpc.health.v1`, in protobuf's encoding, and the prefix that gRPC puts before each.

/// A message's prefix: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Longest message that is looked at; an honest one has two bytes.
const MAX_MESSAGE: usize = 4 * 1024;

/// `HealthCheckResponse.ServingStatus`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServingStatus {
    Unknown,
    Serving,
    NotServing,
    /// Of the method `Watch` alone, by the protocol.
    ServiceUnknown,
    Other(u64),
}

impl ServingStatus {
    /// `HealthCheckResponse { ServingStatus status = 1; }`: the last one counts, and fields that are not known are passed over.
    pub(super) fn read(message: &[u8]) -> Result<Self, String> {
        let malformed = || "the gRPC message is malformed".to_owned();
        let mut rest = message;
        let mut status = 0;
        while !rest.is_empty() {
            let tag = take_varint(&mut rest).ok_or_else(malformed)?;
            let taken = match (tag >> 3, tag & 7) {
                (0, _) => None,
                (1, 0) => take_varint(&mut rest).map(|number| status = number),
                (1, _) => None,
                (_, 0) => take_varint(&mut rest).map(drop),
                (_, 1) => skip(&mut rest, 8),
                (_, 2) => take_varint(&mut rest).and_then(|length| skip(&mut rest, length)),
                (_, 5) => skip(&mut rest, 4),
                // Groups are no part of today's protobuf, and the other wire types of none.
                _ => None,
            };
            taken.ok_or_else(malformed)?;
        }
        Ok(match status {
            0 => Self::Unknown,
            1 => Self::Serving,
            2 => Self::NotServing,
            3 => Self::ServiceUnknown,
            other => Self::Other(other),
        })
    }
}

/// `HealthCheckRequest { string service = 1; }`
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 4);
    // What is empty is left out.
    if !service.is_empty() {
        message.push(0x0a);
        put_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    message
}

/// `message` with its prefix.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// The one message that `body` holds.
pub(super) fn unframed(body: &[u8]) -> Result<&[u8], String> {
    if body.is_empty() {
        return Err("the gRPC answer has no message".to_owned());
    }
    let Some((prefix, rest)) = body.split_first_chunk::<PREFIX>() else {
        return Err("the gRPC answer breaks off within its prefix".to_owned());
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("the gRPC message is compressed, which was not asked for".to_owned());
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(format!("the gRPC message has {length} bytes, more than {MAX_MESSAGE}"));
    }
    match rest.len() {
        here if here < length => {
            Err(format!("the gRPC message breaks off: {here} of {length} bytes"))
        }
        here if here > length => Err("the gRPC answer has more than one message".to_owned()),
        _ => Ok(rest),
    }
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front; at most ten bytes, and no more than 64 bits.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn skip(rest: &mut &[u8], length: u64) -> Option<()> {
    *rest = rest.get(usize::try_from(length).ok()?..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_name_has_a_long_length() {
        let long = request(&"x".repeat(300));
        assert_eq!((&long[..3], long.len()), (&b"\x0a\xac\x02"[..], 303));
        assert!(request("").is_empty());
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let later =
            [&b"\x10\x96\x01"[..], b"\x1a\x03abc", b"\x08\x01", b"\x25abcd", b"\x29abcdefgh"];
        assert_eq!(ServingStatus::read(&later.concat()), Ok(ServingStatus::Serving));
        assert_eq!(
            ServingStatus::read(&[8, 2, 8, 1]),
            Ok(ServingStatus::Serving),
            "the last one counts"
        );
    }

    proptest! {
        #[test]
        fn numbers_survive_their_encoding(number: u64, behind: Vec<u8>) {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            bytes.extend(&behind);
            let mut rest = &bytes[..];
            prop_assert_eq!(take_varint(&mut rest), Some(number));
            prop_assert_eq!(rest, &behind[..]);
        }

        #[test]
        fn a_request_is_read_back_as_a_message_with_one_text(service in "[a-z.]{1,300}") {
            let whole = framed(&request(&service));
            let mut rest = unframed(&whole).unwrap();
            prop_assert_eq!(take_varint(&mut rest), Some(0x0a));
            prop_assert_eq!(take_varint(&mut rest), Some(service.len() as u64));
            prop_assert_eq!(rest, service.as_bytes());
        }
    }
}
