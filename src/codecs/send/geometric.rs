//! Points and what is made of them.

use super::SendError;
use super::reader::Reader;
use super::scalar::float8;

type Result<T = ()> = std::result::Result<T, SendError>;

/// Numbers between two texts.
fn numbers(from: &mut Reader<'_>, count: usize, (before, after): (u8, u8), out: &mut Vec<u8>) -> Result {
    out.push(before);
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        float8(from, out)?;
    }
    out.push(after);
    Ok(())
}

pub(super) fn point(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    numbers(from, 2, (b'(', b')'), out)
}

fn points(from: &mut Reader<'_>, count: u32, out: &mut Vec<u8>) -> Result {
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        point(from, out)?;
    }
    Ok(())
}

pub(super) fn line(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    numbers(from, 3, (b'{', b'}'), out)
}

pub(super) fn segment(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    out.push(b'[');
    points(from, 2, out)?;
    out.push(b']');
    Ok(())
}

pub(super) fn rectangle(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    points(from, 2, out)
}

pub(super) fn path(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let (before, after) = match from.u8()? {
        0 => (b'[', b']'),
        1 => (b'(', b')'),
        _ => return Err(SendError::Broken),
    };
    out.push(before);
    let count = from.count(16)?;
    points(from, count, out)?;
    out.push(after);
    Ok(())
}

pub(super) fn polygon(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    out.push(b'(');
    let count = from.count(16)?;
    points(from, count, out)?;
    out.push(b')');
    Ok(())
}

pub(super) fn circle(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    out.push(b'<');
    point(from, out)?;
    out.push(b',');
    float8(from, out)?;
    out.push(b'>');
    Ok(())
}
