//! Text search: documents and queries.

use super::SendError;
use super::reader::Reader;
use crate::model::value::print;

type Result<T = ()> = std::result::Result<T, SendError>;

/// `'word':1A,2 'other'`: a word in single quotes, those and backslashes doubled.
fn word(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for &byte in text {
        if matches!(byte, b'\'' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// Words, each with its positions, of which the two highest bits are the weight.
pub(super) fn document(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    for at in 0..from.count(3)? {
        if at > 0 {
            out.push(b' ');
        }
        word(from.c_string()?, out);
        for place in 0..from.u16()? {
            out.push(if place == 0 { b':' } else { b',' });
            let position = from.u16()?;
            print::int(i64::from(position & 0x3FFF), out);
            match position >> 14 {
                3 => out.push(b'A'),
                2 => out.push(b'B'),
                1 => out.push(b'C'),
                _ => {}
            }
        }
    }
    Ok(())
}

/// A part of a query: a word, or an operator on those that follow it.
#[derive(Clone, Copy)]
enum Item<'a> {
    Word {
        text: &'a [u8],
        weight: u8,
        prefix: bool,
    },
    Not,
    /// The right operand follows, and the left one begins at `left`.
    Pair {
        operator: Operator,
        left: usize,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum Operator {
    And,
    Or,
    Phrase(u16),
}

impl Operator {
    fn priority(self) -> u8 {
        match self {
            Operator::Or => 1,
            Operator::And => 2,
            Operator::Phrase(_) => 3,
        }
    }
}

const NOT_PRIORITY: u8 = 4;

fn items<'a>(from: &mut Reader<'a>) -> Result<Vec<Item<'a>>> {
    let count = from.count(2)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(match from.u8()? {
            1 => {
                let (weight, prefix) = (from.u8()?, from.u8()? != 0);
                Item::Word { text: from.c_string()?, weight, prefix }
            }
            2 => match from.u8()? {
                1 => Item::Not,
                2 => Item::Pair { operator: Operator::And, left: 0 },
                3 => Item::Pair { operator: Operator::Or, left: 0 },
                4 => Item::Pair { operator: Operator::Phrase(from.u16()?), left: 0 },
                _ => return Err(SendError::Broken),
            },
            _ => return Err(SendError::Broken),
        });
    }
    Ok(items)
}

/// Finds where the left operands begin, from the end, where the words are. An error where one is missing or left over.
fn join(items: &mut [Item<'_>]) -> Result {
    // Where the operands begin that no operator has taken, the nearest last.
    let mut starts: Vec<usize> = Vec::new();
    for (at, item) in items.iter_mut().enumerate().rev() {
        match item {
            Item::Word { .. } => {}
            Item::Not => {
                starts.pop().ok_or(SendError::Broken)?;
            }
            Item::Pair { left, .. } => {
                starts.pop().ok_or(SendError::Broken)?;
                *left = starts.pop().ok_or(SendError::Broken)?;
            }
        }
        starts.push(at);
    }
    if starts.len() <= 1 { Ok(()) } else { Err(SendError::Broken) }
}

/// What is still to be printed.
enum Todo {
    /// The item at this place, inside an operator of this priority; whether it is the right side of a phrase.
    Item(usize, u8, bool),
    Operator(Operator),
    Close,
}

/// Operators between their operands, with parentheses where they are needed. Not recursive: queries can be deep.
pub(super) fn query(from: &mut Reader<'_>, out: &mut Vec<u8>) -> Result {
    let mut items = items(from)?;
    join(&mut items)?;
    let mut todo = Vec::new();
    if !items.is_empty() {
        todo.push(Todo::Item(0, 0, false));
    }
    while let Some(next) = todo.pop() {
        match next {
            Todo::Close => out.extend_from_slice(b" )"),
            Todo::Operator(Operator::And) => out.extend_from_slice(b" & "),
            Todo::Operator(Operator::Or) => out.extend_from_slice(b" | "),
            Todo::Operator(Operator::Phrase(1)) => out.extend_from_slice(b" <-> "),
            Todo::Operator(Operator::Phrase(distance)) => {
                out.extend_from_slice(b" <");
                print::int(i64::from(distance), out);
                out.extend_from_slice(b"> ");
            }
            Todo::Item(at, outer, right) => match *items.get(at).ok_or(SendError::Broken)? {
                Item::Word { text, weight, prefix } => weighted(text, weight, prefix, out),
                Item::Not => {
                    open(NOT_PRIORITY < outer, &mut todo, out);
                    out.push(b'!');
                    todo.push(Todo::Item(at + 1, NOT_PRIORITY, false));
                }
                Item::Pair { operator, left } => {
                    let phrase = matches!(operator, Operator::Phrase(_));
                    open(operator.priority() < outer || phrase && right, &mut todo, out);
                    todo.push(Todo::Item(at + 1, operator.priority(), phrase));
                    todo.push(Todo::Operator(operator));
                    todo.push(Todo::Item(left, operator.priority(), false));
                }
            },
        }
    }
    Ok(())
}

fn open(needed: bool, todo: &mut Vec<Todo>, out: &mut Vec<u8>) {
    if needed {
        out.extend_from_slice(b"( ");
        todo.push(Todo::Close);
    }
}

fn weighted(text: &[u8], weight: u8, prefix: bool, out: &mut Vec<u8>) {
    word(text, out);
    if weight == 0 && !prefix {
        return;
    }
    out.push(b':');
    if prefix {
        out.push(b'*');
    }
    let letters = [(8, b'A'), (4, b'B'), (2, b'C'), (1, b'D')];
    out.extend(letters.into_iter().filter(|(bit, _)| weight & bit != 0).map(|(_, letter)| letter));
}
