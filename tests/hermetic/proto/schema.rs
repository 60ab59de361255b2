//! The schema itself.

use prost_reflect::prost_types::source_code_info::Location;
use tailwater::codecs::event::proto::{Message, SCHEMA, frame};

use super::descriptors;

#[test]
fn every_message_field_and_number_of_the_schema_has_a_comment() {
    let file = descriptors().files().next().unwrap().file_descriptor_proto().clone();
    let locations = file.source_code_info.unwrap().location;
    // The paths of messages (4), enumerations (5), oneofs (8), and of what is in them.
    let named = |location: &&Location| {
        matches!(location.path[..], [4 | 5, _] | [4, _, 2 | 3 | 8, _] | [5, _, 2, _] | [4, _, 3, _, 2, _])
    };
    let named: Vec<_> = locations.iter().filter(named).collect();
    assert!(named.len() > 150, "only {}", named.len());
    for location in named {
        let line = SCHEMA.lines().nth(usize::try_from(location.span[0]).unwrap()).unwrap();
        assert!(location.leading_comments.as_ref().is_some_and(|text| text.trim().len() > 2), "{line}");
    }
}

#[test]
fn the_framing_names_each_message_by_its_place_in_the_schema() {
    let file = descriptors().files().next().unwrap().file_descriptor_proto().clone();
    for message in Message::ALL {
        let (package, name) = message.name().rsplit_once('.').unwrap();
        assert_eq!(package, file.package());
        let place = file.message_type.iter().position(|known| known.name() == name).unwrap();
        let mut out = vec![9];
        frame(0x0102_0304, message, &mut out);
        let expected = if place == 0 { vec![0] } else { vec![2, u8::try_from(place * 2).unwrap()] };
        assert_eq!(out, [&[9, 0, 1, 2, 3, 4][..], &expected].concat(), "{name}");
    }
}
