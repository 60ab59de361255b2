//! Changes to events and back.

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, Value};
use tailwater::codecs::event::{Decoder, Modes, Stamp};
use tailwater::model::*;

use super::tables::{Found, changes, events, read, settings};
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

/// A change as its events tell it: of a changed key, only the old key beside the new row.
fn told(change: &Change) -> Change {
    let key = &change.table.key;
    let mut told = change.clone();
    if let Op::Update { old: Some(OldRow::Full(old)), new } = &change.op
        && key.iter().any(|&at| old.cell(at) != new.cell(at))
    {
        let cells = old.cells().enumerate().map(|(at, cell)| if key.contains(&at) { cell } else { Cell::Null });
        told.op = Op::Update { old: Some(OldRow::Key(cells.collect())), new: new.clone() };
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_change_comes_back_as_it_was(change in changes()) {
        let back = read(&change, Modes::default(), &events(&change, Modes::default()));
        prop_assert_eq!(back, vec![told(&change)]);
    }

    #[test]
    fn the_bytes_are_those_that_the_schemas_own_types_write(change in changes()) {
        for found in events(&change, Modes::default()) {
            let bytes = found.value;
            let event = generated::Event::decode(bytes.as_slice()).unwrap();
            let (columns, widths) = shape_of(&event);
            let told: Vec<_> = change.table.columns.iter().map(|column| column.name.as_str()).collect();
            if change.op == Op::Truncate {
                prop_assert!(columns.is_empty() && widths.is_empty());
            } else {
                prop_assert_eq!(&columns, &told);
                prop_assert!(!widths.is_empty() && widths.iter().all(|width| *width == told.len()));
            }
            let halved = found.headers.iter().any(|(name, _)| name == "tw.part");
            prop_assert_eq!(event.key_change.is_some(), halved);
            let source = event.source.as_ref().unwrap();
            prop_assert_eq!((source.commit_lsn, source.seq), (change.id.commit.get(), change.id.seq));
            prop_assert_eq!((source.schema.as_str(), source.table.as_str(), source.table_version), ("inv ü", "Odd.Name", 3));
            prop_assert_eq!(event.encode_to_vec(), bytes);
            if let Some(bytes) = found.key {
                let key = generated::Key::decode(bytes.as_slice()).unwrap();
                let keys: Vec<_> = change.table.key_columns().map(|column| column.name.as_str()).collect();
                prop_assert_eq!(key.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), keys);
                prop_assert_eq!(key.encode_to_vec(), bytes);
            }
        }
    }

    #[test]
    fn what_a_later_version_adds_is_skipped(change in changes()) {
        let descriptor = later();
        let mut written = events(&change, Modes::default());
        for Found { value: bytes, .. } in &mut written {
            let mut message = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap();
            prop_assert!(fill(&mut message) >= 2);
            *bytes = message.encode_to_vec();
        }
        prop_assert_eq!(read(&change, Modes::default(), &written), vec![told(&change)]);
    }

    #[test]
    fn bytes_that_were_damaged_are_refused_or_read_but_never_a_panic(
        change in changes(), at: prop::sample::Index, flip in 1_u8.., cut: bool
    ) {
        let mut reader = Decoder::new(change.table.clone(), &settings(Modes::default()).modes);
        let headers = [("tw.commit_lsn", &b"1"[..]), ("tw.seq", b"2"), ("tw.table", b"t@1")];
        let stamp = Stamp::read(headers.into_iter()).unwrap();
        for Found { value: mut bytes, .. } in events(&change, Modes::default()) {
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= flip;
            }
            let _ = reader.decode(&stamp, Some(&bytes));
        }
        // A refused row leaves nothing behind.
        let back = read(&change, Modes::default(), &events(&change, Modes::default()));
        prop_assert_eq!(back, vec![told(&change)]);
    }
}
