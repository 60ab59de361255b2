//! Changes to events and back.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use tailwater::codecs::event::Modes;
use tailwater::codecs::event::proto::EventReader;
use tailwater::model::*;

use super::tables::{changes, events, read};
use super::{descriptors, generated};

/// The names of columns that the schema's own types read in an event, and its rows' widths.
fn shape_of(event: &generated::Event) -> (Vec<&str>, Vec<usize>) {
    let rows = [&event.before, &event.after];
    (
        event.columns.iter().map(|column| column.name.as_str()).collect(),
        rows.into_iter().flatten().map(|row| row.values.len()).collect(),
    )
}

/// The schema with a number and a text added to every message.
fn later() -> MessageDescriptor {
    fn grow(message: &mut DescriptorProto) {
        for (name, number, kind) in [("later_number", 1000, Type::Fixed32), ("later_text", 1001, Type::String)] {
            message.field.push(FieldDescriptorProto {
                name: Some(name.into()),
                number: Some(number),
                label: Some(Label::Optional.into()),
                r#type: Some(kind.into()),
                ..FieldDescriptorProto::default()
            });
        }
        message.nested_type.iter_mut().for_each(grow);
    }
    let mut file = descriptors().files().next().unwrap().file_descriptor_proto().clone();
    file.message_type.iter_mut().for_each(grow);
    let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: vec![file] }).unwrap();
    pool.get_message_by_name("tailwater.v1.Event").unwrap()
}

/// Fills the added fields of a message and of all within it; returns how many messages there were.
fn fill(message: &mut DynamicMessage) -> usize {
    let mut filled = 1;
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(inner) => filled += fill(inner),
            Value::List(list) => {
                filled += list.iter_mut().filter_map(Value::as_message_mut).map(fill).sum::<usize>();
            }
            _ => {}
        }
    }
    message.set_field_by_name("later_number", Value::U32(7));
    message.set_field_by_name("later_text", Value::String("what is this".into()));
    filled
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_change_comes_back_as_it_was(change in changes()) {
        let back = read(&change, &Modes::default(), &events(&change, &Modes::default()));
        prop_assert_eq!(back.len(), 1);
        prop_assert_eq!(&back[0], &change);
    }

    #[test]
    fn the_bytes_are_those_that_the_schemas_own_types_write(change in changes()) {
        for (part, bytes) in events(&change, &Modes::default()) {
            let event = generated::Event::decode(bytes.as_slice()).unwrap();
            let (columns, widths) = shape_of(&event);
            let told: Vec<_> = change.table.columns.iter().map(|column| column.name.as_str()).collect();
            if change.op == Op::Truncate {
                prop_assert!(columns.is_empty() && widths.is_empty());
            } else {
                prop_assert_eq!(&columns, &told);
                prop_assert!(!widths.is_empty() && widths.iter().all(|width| *width == told.len()));
            }
            prop_assert_eq!(event.key_change.is_some(), part.is_some());
            let source = event.source.as_ref().unwrap();
            prop_assert_eq!((source.commit_lsn, source.seq), (change.id.commit.get(), change.id.seq));
            prop_assert_eq!((source.schema.as_str(), source.table.as_str(), source.table_version), ("inv ü", "Odd.Name", 3));
            prop_assert_eq!(event.encode_to_vec(), bytes);
        }
    }

    #[test]
    fn what_a_later_version_adds_is_skipped(change in changes()) {
        let descriptor = later();
        let mut told = events(&change, &Modes::default());
        for (_, bytes) in &mut told {
            let mut message = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap();
            prop_assert!(fill(&mut message) >= 2);
            *bytes = message.encode_to_vec();
        }
        prop_assert_eq!(read(&change, &Modes::default(), &told), vec![change]);
    }

    #[test]
    fn bytes_that_were_damaged_are_refused_or_read_but_never_a_panic(
        change in changes(), at: prop::sample::Index, flip in 1_u8.., cut: bool
    ) {
        let mut reader = EventReader::new(change.table.clone(), &Modes::default());
        let headers = [("tw.commit_lsn", &b"1"[..]), ("tw.seq", b"2"), ("tw.table", b"t@1")];
        let stamp = tailwater::codecs::event::Stamp::read(headers.into_iter()).unwrap();
        for (_, mut bytes) in events(&change, &Modes::default()) {
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= flip;
            }
            let _ = reader.decode(&stamp, Some(&bytes));
        }
        // A refused row leaves nothing behind.
        let back = read(&change, &Modes::default(), &events(&change, &Modes::default()));
        prop_assert_eq!(back, vec![change]);
    }
}
