//! Shapes of arrays: how long each dimension is, and where it begins.

use super::ValueError;
use super::array::push_element;

/// PostgreSQL's limit.
const DIMENSIONS: usize = 6;
const ERROR: ValueError = ValueError::new("an array of up to six dimensions");

/// The dimensions of an array, the outermost first; none for an empty array.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    count: usize,
    lengths: [u32; DIMENSIONS],
    lower: [i32; DIMENSIONS],
}

impl Shape {
    /// Adds a dimension inside the others: its length and its first index.
    pub fn push(&mut self, length: u32, lower: i32) -> Result<(), ValueError> {
        let place = self.lengths.get_mut(self.count).zip(self.lower.get_mut(self.count)).ok_or(ERROR)?;
        // An array with an empty dimension is empty, and the last index is one of 32 bits.
        if length == 0 || i64::from(lower) + i64::from(length) - 1 > i64::from(i32::MAX) {
            return Err(ERROR);
        }
        (*place.0, *place.1) = (length, lower);
        self.count += 1;
        Ok(())
    }

    /// The length of each dimension.
    pub fn lengths(&self) -> &[u32] {
        self.lengths.get(..self.count).unwrap_or_default()
    }

    /// The first index of each dimension.
    pub fn lower_bounds(&self) -> &[i32] {
        self.lower.get(..self.count).unwrap_or_default()
    }

    /// Whether every dimension begins at 1, as is usual.
    pub fn is_plain(&self) -> bool {
        self.lower_bounds().iter().all(|lower| *lower == 1)
    }

    /// How many elements there are; `None` beyond 64 bits.
    pub fn elements(&self) -> Option<u64> {
        match self.lengths() {
            [] => Some(0),
            lengths => lengths.iter().try_fold(1_u64, |total, length| total.checked_mul(u64::from(*length))),
        }
    }

    /// Reads `[0:1][1:3]`.
    pub(super) fn parse(bounds: &[u8]) -> Result<Shape, ValueError> {
        let mut shape = Shape::default();
        let inner = bounds.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).ok_or(ERROR)?;
        let mut rest = Some(inner);
        while let Some(bounds) = rest {
            let (dimension, next) = match memchr::memmem::find(bounds, b"][") {
                Some(at) => (bounds.get(..at).unwrap_or_default(), bounds.get(at + 2..)),
                None => (bounds, None),
            };
            let colon = memchr::memchr(b':', dimension).ok_or(ERROR)?;
            let lower = super::int(dimension.get(..colon).unwrap_or_default())?;
            let upper = super::int(dimension.get(colon + 1..).unwrap_or_default())?;
            let length = upper.checked_sub(lower).and_then(|span| span.checked_add(1)).ok_or(ERROR)?;
            shape.push(u32::try_from(length).map_err(|_| ERROR)?, i32::try_from(lower).map_err(|_| ERROR)?)?;
            rest = next;
        }
        Ok(shape)
    }

    /// Counts the items of the first array at each depth of `{{1,2},{3,4}}`: PostgreSQL's arrays are rectangular.
    pub(super) fn count(body: &[u8], delimiter: u8, dimensions: usize) -> Result<Shape, ValueError> {
        let mut counts = [0_u32; DIMENSIONS];
        let mut closed = [false; DIMENSIONS];
        let (mut depth, mut quoted) = (0_usize, false);
        let mut bytes = body.iter();
        while let Some(&byte) = bytes.next() {
            match byte {
                b'\\' => drop(bytes.next()),
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' => depth += 1,
                b'}' | b',' | b';' if byte == b'}' || byte == delimiter => {
                    let at = depth.checked_sub(1).ok_or(ERROR)?;
                    let (count, closed) = counts.get_mut(at).zip(closed.get_mut(at)).ok_or(ERROR)?;
                    *count += u32::from(!*closed);
                    if byte == b'}' {
                        *closed = true;
                        depth = at;
                    }
                }
                _ => {}
            }
        }
        let mut shape = Shape::default();
        counts.iter().take(dimensions).try_for_each(|count| shape.push(*count, 1))?;
        Ok(shape)
    }
}

/// Prints an array of any shape, its elements in storage order.
#[derive(Debug)]
pub struct ShapedWriter<'a> {
    out: &'a mut Vec<u8>,
    delimiter: u8,
    shape: Shape,
    pushed: u64,
}

impl<'a> ShapedWriter<'a> {
    /// Begins an array at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, delimiter: u8, shape: Shape) -> ShapedWriter<'a> {
        if !shape.is_plain() {
            for (length, lower) in shape.lengths().iter().zip(shape.lower_bounds()) {
                let upper = i64::from(*lower) + i64::from(*length) - 1;
                out.extend_from_slice(format!("[{lower}:{upper}]").as_bytes());
            }
            out.push(b'=');
        }
        ShapedWriter { out, delimiter, shape, pushed: 0 }
    }

    /// Adds an element, quoted where PostgreSQL quotes it; `None` for NULL.
    pub fn push(&mut self, element: Option<&[u8]>) {
        if self.pushed > 0 {
            self.out.push(self.delimiter);
        }
        let opened = self.edges(self.pushed);
        self.out.extend(std::iter::repeat_n(b'{', opened));
        push_element(self.out, self.delimiter, element);
        self.pushed += 1;
        let closed = self.edges(self.pushed);
        self.out.extend(std::iter::repeat_n(b'}', closed));
    }

    /// How many dimensions begin and end between the elements before and after `at`.
    fn edges(&self, at: u64) -> usize {
        let mut span = 1_u64;
        let innermost_first = self.shape.lengths().iter().rev();
        innermost_first
            .take_while(|length| {
                span = span.saturating_mul(u64::from(**length));
                at.is_multiple_of(span)
            })
            .count()
    }

    /// Ends the array; an error when it has another number of elements than its shape.
    pub fn finish(self) -> Result<(), ValueError> {
        if self.shape.elements() != Some(self.pushed) {
            return Err(ValueError::new("as many elements as the array's shape has"));
        }
        if self.pushed == 0 {
            self.out.extend_from_slice(b"{}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Array;
    use super::*;

    fn printed(text: &str) -> String {
        let array = Array::parse(text.as_bytes(), b',').unwrap();
        let mut out = Vec::new();
        let mut writer = ShapedWriter::new(&mut out, b',', array.shape().unwrap());
        array.elements().for_each(|element| writer.push(element.unwrap().as_deref()));
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn arrays_of_every_shape_are_printed_as_they_were() {
        for text in [
            "{}",
            "{1}",
            "{NULL}",
            "{1,2,3}",
            "{{1,2},{3,4}}",
            "{{{1},{2}},{{3},{4}},{{5},{6}}}",
            "[0:1]={1,2}",
            "[-5:-5][2:3]={{1,NULL}}",
            r#"{{"a,b","{"},{"\"","\\"}}"#,
            r#"{"","NULL"," "}"#,
            "[2147483647:2147483647]={1}",
        ] {
            assert_eq!(printed(text), text);
        }
    }

    #[test]
    fn a_shape_knows_lengths_and_first_indexes() {
        let shape = |text: &str| Array::parse(text.as_bytes(), b',').unwrap().shape();
        let deep = shape(r#"{{"}",b,"x,\"y"},{d,e,f}}"#).unwrap();
        assert_eq!((deep.lengths(), deep.lower_bounds(), deep.elements()), (&[2, 3][..], &[1, 1][..], Some(6)));
        let moved = shape("[0:1][-1:-1]={{1},{2}}").unwrap();
        assert_eq!((moved.lengths(), moved.lower_bounds()), (&[2, 1][..], &[0, -1][..]));
        for text in ["[0]={1}", "[2:1]={1}", "[1:x]={1}", "[]={1}", "{{{{{{{1}}}}}}}", "[0:9223372036854775807]={1}"] {
            assert!(shape(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_of_elements_that_the_shape_does_not_have_is_refused() {
        let mut shape = Shape::default();
        shape.push(2, 1).unwrap();
        let mut out = Vec::new();
        let mut writer = ShapedWriter::new(&mut out, b',', shape);
        writer.push(None);
        assert!(writer.finish().is_err());
    }
}
