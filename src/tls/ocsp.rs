//! An authority's answer about a certificate (OCSP), as far as it tells whether it is one that helps.
//!
//! Its signature is the client's to check: what is looked at is whether it can be read, and what it says. The names are those of
//! RFC 6960 §4.2.1.

use x509_parser::{
    asn1_rs::{Any, Class, Tag},
    prelude::{ASN1Time, FromDer as _},
};

/// The content of `id-pkix-ocsp-basic`, the one kind of answer there is.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// What the answer says of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Staple {
    /// The authority stands by the certificate.
    pub(super) is_good: bool,
    /// There is a newer answer by then, in seconds since 1970 UTC, if it says so.
    pub(super) next_update_s: Option<i64>,
}

/// Reads the answer in `der`: what it says of the certificate with the number `serial`, if it speaks of that one.
///
/// # Errors
/// Why it is no answer to be shown, to stand behind the file's name.
pub(super) fn read(der: &[u8], serial: &[u8]) -> Result<Option<Staple>, &'static str> {
    const BROKEN: &str = "is no OCSP answer in DER form";
    let (response, []) = sequence(der).ok_or(BROKEN)? else { return Err(BROKEN) };
    let (status, bytes) = element(response, Class::Universal, Tag::Enumerated).ok_or(BROKEN)?;
    match status {
        [0] => {}
        [1] => return Err("is an authority's complaint of a malformed request, and no answer"),
        [2] => return Err("is an authority's word of an error of its own, and no answer"),
        [3] => return Err("is an authority's request to try later, and no answer"),
        [5] => return Err("is an authority's demand for a signed request, and no answer"),
        [6] => return Err("is an authority's refusal to tell, and no answer"),
        _ => return Err(BROKEN),
    }
    let mut answers = answers(bytes).ok_or(BROKEN)?;
    let mut found = None;
    while !answers.is_empty() {
        let (answer, rest) = sequence(answers).ok_or(BROKEN)?;
        let (number, staple) = single(answer).ok_or(BROKEN)?;
        if number == serial {
            found = Some(staple);
        }
        answers = rest;
    }
    Ok(found)
}

/// The content of the list of `SingleResponse` in what follows the status.
fn answers(bytes: &[u8]) -> Option<&[u8]> {
    let (bytes, []) = tagged(bytes, 0)? else { return None };
    let (bytes, []) = sequence(bytes)? else { return None };
    let (kind, bytes) = element(bytes, Class::Universal, Tag::Oid)?;
    let (basic, []) = element(bytes, Class::Universal, Tag::OctetString)? else { return None };
    let (basic, []) = sequence(basic)? else { return None };
    let (data, signed) = sequence(basic)?;
    let (_algorithm, signed) = sequence(signed)?;
    element(signed, Class::Universal, Tag::BitString)?;
    // A version other than the first stands before who it is that answers.
    let data = tagged(data, 0).map_or(data, |(_, rest)| rest);
    let (_, data) = tagged(data, 1).or_else(|| tagged(data, 2))?;
    let (_produced_at, data) = time(data)?;
    (kind == BASIC).then_some(sequence(data)?.0)
}

/// The number of the certificate that a `SingleResponse` speaks of, and what it says.
fn single(answer: &[u8]) -> Option<(&[u8], Staple)> {
    let (id, rest) = sequence(answer)?;
    let (_algorithm, id) = sequence(id)?;
    let (_name_hash, id) = element(id, Class::Universal, Tag::OctetString)?;
    let (_key_hash, id) = element(id, Class::Universal, Tag::OctetString)?;
    let (number, []) = element(id, Class::Universal, Tag::Integer)? else { return None };
    let is_good = tagged(rest, 0).is_some();
    let (_, rest) = tagged(rest, 0).or_else(|| tagged(rest, 1)).or_else(|| tagged(rest, 2))?;
    let (_this_update, rest) = time(rest)?;
    let next_update_s = match tagged(rest, 0) {
        Some((next, _)) => Some(time(next)?.0),
        None => None,
    };
    Some((number, Staple { is_good, next_update_s }))
}

fn sequence(input: &[u8]) -> Option<(&[u8], &[u8])> {
    element(input, Class::Universal, Tag::Sequence)
}

fn tagged(input: &[u8], tag: u32) -> Option<(&[u8], &[u8])> {
    element(input, Class::ContextSpecific, Tag(tag))
}

/// The content of the first element of `input`, if it is of that kind, and what follows it.
fn element(input: &[u8], class: Class, tag: Tag) -> Option<(&[u8], &[u8])> {
    let (rest, any) = Any::from_der(input).ok()?;
    (any.class() == class && any.tag() == tag).then_some((any.data, rest))
}

/// Seconds since 1970 UTC, and what follows.
fn time(input: &[u8]) -> Option<(i64, &[u8])> {
    let (rest, time) = ASN1Time::from_der(input).ok()?;
    Some((time.timestamp(), rest))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        match content.len() {
            short @ 0..128 => [&[tag, short as u8][..], &content].concat(),
            128..256 => [&[tag, 0x81, length[1]][..], &content].concat(),
            _ => [&[tag, 0x82][..], &length, &content].concat(),
        }
    }

    /// An answer as an authority makes it, signed by nobody; `status`: 0 good, 1 revoked, 2 unknown.
    pub(in crate::tls) fn answer(serial: &[u8], status: u8, next_update: Option<&str>) -> Vec<u8> {
        let of_time = |text: &str| der(0x18, &[text.as_bytes()]);
        let algorithm = der(0x30, &[&der(0x06, &[&[0x2b, 0x0e, 0x03, 0x02, 0x1a]])]);
        let hash = der(0x04, &[&[7; 20]]);
        let id = der(0x30, &[&algorithm, &hash, &hash, &der(0x02, &[serial])]);
        let revoked = of_time("20250101000000Z");
        let status = match status {
            1 => der(0xa1, &[&revoked]),
            other => vec![0x80 | other, 0],
        };
        let next = next_update.map(|text| der(0xa0, &[&of_time(text)])).unwrap_or_default();
        let single = der(0x30, &[&id, &status, &of_time("20260101000000Z"), &next]);
        let list = der(0x30, &[&single]);
        let data = der(
            0x30,
            &[&der(0xa2, &[&der(0x04, &[&[9; 20]])]), &of_time("20260101000000Z"), &list],
        );
        let basic = der(0x30, &[&data, &algorithm, &der(0x03, &[&[0, 1, 2, 3]])]);
        let bytes = der(0x30, &[&der(0x06, &[BASIC]), &der(0x04, &[&basic])]);
        der(0x30, &[&[0x0a, 1, 0], &der(0xa0, &[&bytes])])
    }

    #[test]
    fn what_it_says_of_the_certificate_is_read() {
        let next = Some("20270131120000Z");
        for (answer, expected) in [
            (answer(&[5], 0, next), Some((true, Some(1_801_396_800)))),
            (answer(&[5], 0, None), Some((true, None))),
            (answer(&[5], 1, next), Some((false, Some(1_801_396_800)))),
            (answer(&[5], 2, None), Some((false, None))),
            (answer(&[6], 0, next), None),
        ] {
            let found = read(&answer, &[5]).unwrap();
            assert_eq!(found.map(|staple| (staple.is_good, staple.next_update_s)), expected);
        }
    }

    #[test]
    fn what_can_be_no_answer_is_refused() {
        let good = answer(&[5], 0, None);
        let surplus = [&good[..], b"x"].concat();
        for bad in [&b""[..], b"0garbage", b"-----BEGIN", &[0x30, 0], &surplus] {
            assert_eq!(read(bad, &[5]), Err("is no OCSP answer in DER form"), "{bad:?}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length], &[5]).is_err(), "{length} bytes of it");
        }
        let later = read(&[0x30, 3, 0x0a, 1, 3], &[5]);
        assert_eq!(later, Err("is an authority's request to try later, and no answer"));
    }

    proptest! {
        #[test]
        fn whatever_it_holds_it_is_read_or_refused(at in 0_usize..200, byte: u8) {
            let mut changed = answer(&[5], 0, Some("20270131120000Z"));
            let at = at % changed.len();
            changed[at] = byte;
            let _ = read(&changed, &[5]);
        }
    }
}
