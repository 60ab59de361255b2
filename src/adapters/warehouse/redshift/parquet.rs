//! Columns written as Parquet, with the annotations that every reader knows.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type,
    Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::columns::{Column, Values};
use crate::codecs::dialect::Staging;

/// A file that row groups are added to.
pub(super) struct File {
    writer: SerializedFileWriter<Vec<u8>>,
}

impl File {
    pub(super) fn new(columns: &[Column]) -> Result<File> {
        let fields = columns.iter().map(|column| field(column).map(Arc::new)).collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("rows").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(false)
            .build();
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        Ok(File { writer })
    }

    /// Writes what the columns hold as one row group, and empties them.
    pub(super) fn group(&mut self, columns: &mut [Column]) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for column in columns {
            let mut writer =
                group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns".into()))?;
            write(&mut writer, column)?;
            writer.close()?;
            column.clear();
        }
        group.close()?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.writer.finish()?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }
}

fn write(writer: &mut SerializedColumnWriter<'_>, column: &mut Column) -> Result<()> {
    let levels = Some(column.levels.as_slice());
    match &mut column.values {
        Values::Ints(values) => writer.typed::<Int32Type>().write_batch(values, levels, None)?,
        Values::Longs(values) => writer.typed::<Int64Type>().write_batch(values, levels, None)?,
        Values::Floats(values) => writer.typed::<FloatType>().write_batch(values, levels, None)?,
        Values::Doubles(values) => writer.typed::<DoubleType>().write_batch(values, levels, None)?,
        Values::Bools(values) => writer.typed::<BoolType>().write_batch(values, levels, None)?,
        Values::Bytes(buffer, ends) => {
            let bytes = Bytes::from(std::mem::take(buffer));
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let slices = starts.zip(ends.iter()).map(|(start, end)| bytes.slice(start..*end));
            let written = if matches!(column.staging, Staging::Decimal(..)) {
                let values: Vec<FixedLenByteArray> = slices.map(|slice| ByteArray::from(slice).into()).collect();
                writer.typed::<FixedLenByteArrayType>().write_batch(&values, levels, None)?
            } else {
                let values: Vec<ByteArray> = slices.map(ByteArray::from).collect();
                writer.typed::<ByteArrayType>().write_batch(&values, levels, None)?
            };
            // The next group's values go where these were.
            *buffer = bytes.into();
            written
        }
    };
    Ok(())
}

fn field(column: &Column) -> Result<Type> {
    let (physical, converted) = match column.staging {
        Staging::Int2 => (Physical::INT32, ConvertedType::INT_16),
        Staging::Int4 => (Physical::INT32, ConvertedType::NONE),
        Staging::Int8 => (Physical::INT64, ConvertedType::NONE),
        Staging::Float4 => (Physical::FLOAT, ConvertedType::NONE),
        Staging::Float8 => (Physical::DOUBLE, ConvertedType::NONE),
        Staging::Bool => (Physical::BOOLEAN, ConvertedType::NONE),
        Staging::Date => (Physical::INT32, ConvertedType::DATE),
        Staging::Timestamp => (Physical::INT64, ConvertedType::TIMESTAMP_MICROS),
        Staging::Decimal(..=9, _) => (Physical::INT32, ConvertedType::DECIMAL),
        Staging::Decimal(..=18, _) => (Physical::INT64, ConvertedType::DECIMAL),
        Staging::Decimal(..) => (Physical::FIXED_LEN_BYTE_ARRAY, ConvertedType::DECIMAL),
        Staging::Bytes => (Physical::BYTE_ARRAY, ConvertedType::NONE),
        Staging::Time | Staging::Super | Staging::Text => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
    };
    let mut builder = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_converted_type(converted);
    if let Staging::Decimal(precision, scale) = column.staging {
        builder = builder.with_precision(i32::from(precision)).with_scale(i32::from(scale)).with_length(16);
    }
    builder.build()
}
