//! How input that servers sent becomes input that nobody sent.

use super::chance::Chance;

/// Words that texts of values and records are made of.
const WORDS: [&str; 28] = [
    "NaN",
    "-Infinity",
    "infinity",
    "-infinity",
    " BC",
    "+15:59",
    "24:00:00",
    "5874897-12-31",
    "-9223372036854775808",
    "9223372036854775807",
    "99999999999999999999",
    "mons ",
    " years",
    "{",
    "}",
    "{{{{{{{",
    "NULL",
    "\"",
    "\\",
    "[0:2147483647]=",
    "0.0000000000000000000000000001",
    "1e309",
    "\\x",
    "\u{fffd}",
    "null",
    "\u{0}",
    "=>",
    ",",
];
/// Numbers at the edges of lengths and counts.
const EDGES: [i64; 12] = [-2_147_483_648, -1, 0, 1, 2, 127, 128, 255, 65_535, 65_536, 2_147_483_646, 2_147_483_647];

/// Some input, changed in up to four places.
pub fn mutate(corpus: &[Vec<u8>], text: bool, chance: &mut Chance) -> Vec<u8> {
    if chance.one_in(64) {
        return (0..chance.index(40)).map(|_| chance.next() as u8).collect();
    }
    let mut bytes = pick(chance, corpus).clone();
    for _ in 0..chance.index(5) {
        let at = chance.index(bytes.len() + 1);
        match chance.index(10) {
            0 | 1 => flip(&mut bytes, chance),
            2 => bytes.truncate(at),
            3 => splice(&mut bytes, pick::<Vec<u8>>(chance, corpus), chance),
            4 => drop(bytes.splice(at..at, pick(chance, &WORDS).bytes())),
            5 => double(&mut bytes, chance),
            6 => drop(bytes.drain(at..(at + chance.index(8)).min(bytes.len()))),
            7 if text => drop(bytes.splice(at..at, chance.next().to_string().into_bytes())),
            7 | 8 => number(&mut bytes, chance),
            _ => bytes.insert(at, chance.next() as u8),
        }
    }
    bytes
}

fn flip(bytes: &mut [u8], chance: &mut Chance) {
    let at = chance.index(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << chance.index(8);
    }
}

/// The rest of another input from some place on.
fn splice(bytes: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let (at, from) = (chance.index(bytes.len() + 1), chance.index(other.len() + 1));
    bytes.truncate(at);
    bytes.extend_from_slice(&other[from..]);
}

fn double(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let from = chance.index(bytes.len() + 1);
    let to = (from + chance.index(64)).min(bytes.len());
    let piece = bytes[from..to].to_vec();
    bytes.splice(to..to, piece);
}

/// What may be a length or a count becomes another one.
fn number(bytes: &mut [u8], chance: &mut Chance) {
    let width = *pick(chance, &[1, 2, 4, 8]);
    let at = chance.index(bytes.len());
    let edge = pick(chance, &EDGES).to_be_bytes();
    if let Some(place) = bytes.get_mut(at..at + width) {
        place.copy_from_slice(&edge[8 - width..]);
    }
}

fn pick<'a, T>(chance: &mut Chance, all: &'a [T]) -> &'a T {
    &all[chance.index(all.len())]
}
