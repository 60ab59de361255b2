//! Text forms of values: what is printed is read, and what PostgreSQL prints comes out again.

use proptest::prelude::*;
use tailwater::model::value::*;

fn printed<T>(value: T, print: impl Fn(T, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    print(value, &mut out);
    out
}

#[test]
fn dates_of_every_era_come_back() {
    let cases = [
        ("1970-01-01", 0),
        ("2016-11-04", 17_109),
        ("0044-03-15 BC", -735_160),
        ("0001-12-31 BC", -719_163),
        ("2000-02-29", 11_016),
        ("4714-11-24 BC", -2_440_588),
        ("5874897-12-31", 2_145_042_905),
    ];
    for (text, days) in cases {
        assert_eq!(date(text.as_bytes()), Ok(Finite::Value(days)), "{text}");
        assert_eq!(printed(Finite::Value(days), print::date), text.as_bytes());
    }
    assert_eq!(date(b"-infinity"), Ok(Finite::NegInfinity));
}

#[test]
fn what_is_no_date_is_refused() {
    for text in ["", "2016", "2016-13-01", "2015-02-29", "2016-11-04 ", "0000-01-01", "16-11-04", "2016-11-4", "now"] {
        assert!(date(text.as_bytes()).is_err(), "{text:?}");
        assert!(timestamp(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn times_reach_to_the_end_of_the_day() {
    assert_eq!(time(b"24:00:00"), Ok(86_400_000_000));
    assert_eq!(time(b"13:51:30.1234"), Ok(49_890_123_400));
    for text in ["24:00:01", "25:00:00", "1:00:00", "00:60:00", "00:00:00.", "00:00:00.1234567"] {
        assert!(time(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn timestamps_have_offsets_and_eras() {
    let micros = 1_478_267_490_123_456;
    assert_eq!(timestamp(b"2016-11-04 13:51:30.123456"), Ok(Finite::Value(micros)));
    assert_eq!(timestamptz(b"2016-11-04 19:21:30.123456+05:30"), Ok(Finite::Value(micros)));
    assert_eq!(timestamptz(b"2016-11-04 13:51:30.123456-00:00:00"), Ok(Finite::Value(micros)));
    assert_eq!(printed(Finite::Value(micros), print::timestamptz), b"2016-11-04 13:51:30.123456+00");
    let text = b"0044-03-15 00:00:00.5+00 BC";
    assert_eq!(printed(timestamptz(text).unwrap(), print::timestamptz), text);
    assert!(timestamp(b"294276-12-31 23:59:59.999999").is_err());
    let last = pg_timestamp(b"294276-12-31 23:59:59.999999").unwrap();
    assert_eq!(printed(last, print::pg_timestamp), b"294276-12-31 23:59:59.999999");
}

#[test]
fn floats_are_laid_out_as_postgresql_does() {
    for text in ["0", "-0", "1", "0.1", "100000000000000", "1e+15", "0.0001", "1e-05", "1.5e+300", "NaN", "-Infinity"] {
        assert_eq!(printed(float8(text.as_bytes()).unwrap(), print::float8), text.as_bytes());
    }
    for text in ["123456", "1.234567e+06", "1e+06", "3.4028235e+38", "0.1"] {
        assert_eq!(printed(float4(text.as_bytes()).unwrap(), print::float4), text.as_bytes());
    }
}

#[test]
fn numerics_have_the_binary_form_of_numeric_send() {
    let cases: [(&str, &[u8]); 6] = [
        ("0", &[0, 0, 0, 0, 0, 0, 0, 0]),
        ("0.00", &[0, 0, 0, 0, 0, 0, 0, 2]),
        ("12345.67", &[0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 9, 41, 26, 44]),
        ("-0.0001", &[0, 1, 255, 255, 64, 0, 0, 4, 0, 1]),
        ("NaN", &[0, 0, 0, 0, 192, 0, 0, 0]),
        ("10000", &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
    ];
    for (text, bytes) in cases {
        let mut out = Vec::new();
        Numeric::parse(text.as_bytes()).unwrap().pg_binary(&mut out).unwrap();
        assert_eq!(out, bytes, "{text}");
    }
}

#[test]
fn scales_move_the_point() {
    let unscaled = |text: &str, scale| {
        let mut out = Vec::new();
        Numeric::parse(text.as_bytes()).unwrap().unscaled_be(scale, &mut out).map(|()| out)
    };
    assert_eq!(unscaled("12.34", 2), Ok(vec![0x04, 0xD2]));
    assert_eq!(unscaled("-0.05", 2), Ok(vec![0xFB]));
    assert_eq!(unscaled("1200", -2), Ok(vec![12]));
    assert_eq!(unscaled("0", -2), Ok(vec![0]));
    assert_eq!(unscaled("128", 0), Ok(vec![0, 128]));
    assert!(unscaled("1.23", 1).is_err());
    for text in ["", "-", ".5", "5.", "1e5", "+1", "1.2.3", " 1"] {
        assert!(Numeric::parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn arrays_keep_quotes_nulls_and_shape() {
    let array = Array::parse(br#"{1,NULL,"NULL","a \"b\" \\","",x}"#, b',').unwrap();
    let elements: Vec<_> = array.elements().map(|element| element.unwrap().map(|e| e.into_owned())).collect();
    let expected = [Some("1"), None, Some("NULL"), Some(r#"a "b" \"#), Some(""), Some("x")];
    assert_eq!(elements, expected.map(|element| element.map(|text| text.as_bytes().to_vec())));
    assert_eq!((array.dimensions, array.bounds), (1, false));
    assert_eq!(Array::parse(b"{}", b',').unwrap().dimensions, 0);
    assert_eq!(Array::parse(b"{{1,2},{3,4}}", b',').unwrap().dimensions, 2);
    assert!(Array::parse(b"[0:1]={1,2}", b',').unwrap().bounds);
    assert!(Array::parse(b"1,2", b',').is_err());
}

proptest! {
    #[test]
    fn every_timestamp_comes_back(micros in -211_813_488_000_000_000_i64..9_223_371_331_200_000_000) {
        let text = printed(Finite::Value(micros), print::pg_timestamptz);
        prop_assert_eq!(pg_timestamptz(&text), Ok(Finite::Value(micros)));
    }

    #[test]
    fn a_numeric_has_the_same_bytes_whichever_way_they_are_counted(
        negative: bool, whole in "[1-9][0-9]{0,24}|0", fraction in "[0-9]{0,20}", more in 0_i32..6
    ) {
        let dot = if fraction.is_empty() { "" } else { "." };
        let text = format!("{}{whole}{dot}{fraction}", if negative { "-" } else { "" });
        let scale = i32::try_from(fraction.len()).unwrap() + more;
        let mut bytes = Vec::new();
        Numeric::parse(text.as_bytes()).unwrap().unscaled_be(scale, &mut bytes).unwrap();
        let mut back = Vec::new();
        print::decimal(&bytes, scale, &mut back);
        let zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
        let zeros = "0".repeat(usize::try_from(more).unwrap());
        let dot = if scale == 0 { "" } else { "." };
        let expected = format!("{}{whole}{dot}{fraction}{zeros}", if negative && !zero { "-" } else { "" });
        prop_assert_eq!(String::from_utf8(back).unwrap(), expected);
    }

    #[test]
    fn every_date_comes_back(days in -2_440_588_i32..=2_145_042_905) {
        prop_assert_eq!(date(&printed(Finite::Value(days), print::date)), Ok(Finite::Value(days)));
    }

    #[test]
    fn every_time_comes_back(micros in 0_i64..=86_400_000_000) {
        prop_assert_eq!(time(&printed(micros, print::time)), Ok(micros));
    }

    #[test]
    fn every_float_comes_back(bits: u64, half: u32) {
        let (wide, narrow) = (f64::from_bits(bits), f32::from_bits(half));
        let back = float8(&printed(wide, print::float8)).unwrap();
        prop_assert!(back.to_bits() == bits || (back.is_nan() && wide.is_nan()));
        let back = float4(&printed(narrow, print::float4)).unwrap();
        prop_assert!(back.to_bits() == half || (back.is_nan() && narrow.is_nan()));
    }

    #[test]
    fn every_integer_uuid_and_byte_string_comes_back(number: i64, id: [u8; 16], bytes: Vec<u8>) {
        prop_assert_eq!(int(&printed(number, print::int)), Ok(number));
        prop_assert_eq!(uuid(&printed(&id, print::uuid)), Ok(id));
        let mut back = Vec::new();
        bytea(&printed(bytes.as_slice(), print::bytea), &mut back).unwrap();
        prop_assert_eq!(back, bytes);
    }

    #[test]
    fn every_decimal_comes_back(text in "-?(0|[1-9][0-9]{0,90})(\\.[0-9]{1,90})?") {
        let negative_zero = text.starts_with('-') && !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        prop_assume!(!negative_zero);
        let numeric = Numeric::parse(text.as_bytes()).unwrap();
        let scale = i32::try_from(numeric.scale()).unwrap();
        let mut unscaled = Vec::new();
        numeric.unscaled_be(scale, &mut unscaled).unwrap();
        let back = printed(unscaled.as_slice(), |bytes, out| print::decimal(bytes, scale, out));
        prop_assert_eq!(String::from_utf8(back).unwrap(), text);
    }

    #[test]
    fn every_array_comes_back(elements: Vec<Option<Vec<u8>>>) {
        let mut text = Vec::new();
        let mut writer = ArrayWriter::new(&mut text, b',');
        elements.iter().for_each(|element| writer.push(element.as_deref()));
        writer.finish();
        let array = Array::parse(&text, b',').unwrap();
        let back: Result<Vec<_>, _> = array.elements().map(|e| e.map(|e| e.map(|e| e.into_owned()))).collect();
        prop_assert_eq!(back, Ok(elements));
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
        let _ = (date(&bytes), time(&bytes), pg_timestamptz(&bytes), uuid(&bytes), int(&bytes), float8(&bytes));
        let _ = bytea(&bytes, &mut Vec::new());
        if let Ok(numeric) = Numeric::parse(&bytes) {
            let _ = numeric.pg_binary(&mut Vec::new());
        }
        if let Ok(array) = Array::parse(&bytes, b',') {
            array.elements().for_each(drop);
        }
    }
}
