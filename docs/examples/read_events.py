#!/usr/bin/env python3
"""Prints the changes that Tailwater publishes as Protobuf, one line each.

    pip install protobuf confluent-kafka
    tailwater schema -c shop.toml --format proto > event.proto
    protoc --python_out=. event.proto
    ./read_events.py --bootstrap localhost:9092 shop.public.orders

An event needs nothing but itself: no registry, no event before it. `--file` reads events from a file instead, each
with its length in front of it, as Protobuf's libraries write them ("delimited").
"""

import argparse
import datetime
import json
import sys
import uuid

import event_pb2 as tailwater
from google.protobuf.proto import parse_length_prefixed

DAY = datetime.date(1970, 1, 1)
MOMENT = datetime.datetime(1970, 1, 1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bootstrap", default="localhost:9092")
    arguments.add_argument("--file")
    arguments.add_argument("topics", nargs="*")
    chosen = arguments.parse_args()
    events = from_file(chosen.file) if chosen.file else from_topics(chosen.bootstrap, chosen.topics)
    for event in events:
        print(line(event), flush=True)


def from_file(path):
    with open(path, "rb") as file:
        while (event := parse_length_prefixed(tailwater.Event, file)) is not None:
            yield event


def from_topics(bootstrap, topics):
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "read_events", "auto.offset.reset": "earliest"})
    consumer.subscribe(topics)
    while True:
        record = consumer.poll(1.0)
        if record is None:
            continue
        if record.error():
            sys.exit(str(record.error()))
        # A record without a value is a tombstone: the row of its key is gone, which an event has said before.
        if (value := record.value()) is not None:
            # With a registry: a zero, the schema's number, and a zero for the first message of the schema.
            yield tailwater.Event.FromString(value[6:] if value[:1] == b"\0" else value)


def line(event):
    source = event.source
    told = [
        tailwater.Op.Name(event.op).removeprefix("OP_"),
        f"{source.schema}.{source.table}",
        # Orders all changes of the database; the same pair is the same change.
        f"{source.commit_lsn >> 32:X}/{source.commit_lsn & 0xFFFFFFFF:X}#{source.seq}",
    ]
    if event.HasField("before"):
        told.append("was " + shown(row(event.columns, event.before)))
    if event.HasField("after"):
        told.append(shown(row(event.columns, event.after)))
    if event.HasField("key_change"):
        other = {column.name: value(column.value) for column in event.key_change.other.columns}
        deletes = event.key_change.part == tailwater.KEY_CHANGE_PART_DELETE
        told.append(("becomes " if deletes else "was ") + shown(other))
    return " ".join(told)


def row(columns, row):
    """The columns that were sent, by name."""
    named = zip(columns, row.values, strict=True)
    return {column.name: value(cell) for column, cell in named if cell.WhichOneof("kind") != "unsent"}


def value(cell):
    """The nearest that Python has."""
    match kind := cell.WhichOneof("kind"):
        case "null":
            return None
        case "unchanged":
            return "(not sent: it did not change)"
        case "date":
            return within(lambda: DAY + datetime.timedelta(days=cell.date), cell.date)
        case "time":
            return datetime.timedelta(microseconds=cell.time)
        case "timestamp" | "timestamptz":
            micros = getattr(cell, kind)
            return within(lambda: MOMENT + datetime.timedelta(microseconds=micros), micros)
        case "infinity":
            return "infinity" if cell.infinity == tailwater.INFINITY_POSITIVE else "-infinity"
        case "interval":
            return {field.name: number for field, number in cell.interval.ListFields()}
        case "uuid":
            return uuid.UUID(bytes=cell.uuid)
        case "json":
            return json.loads(cell.json)
        case "array":
            return nested(list(cell.array.lengths), iter(cell.array.elements))
        case "hstore":
            return {pair.key: pair.value if pair.HasField("value") else None for pair in cell.hstore.pairs}
        case "bits":
            return "".join(f"{byte:08b}" for byte in cell.bits.bytes)[: cell.bits.length]
        case "point":
            return (cell.point.x, cell.point.y)
        case "vector":
            return list(cell.vector.elements)
        case None:
            return "(a kind of value that was added later: compile the newer event.proto)"
        case _:
            return getattr(cell, kind)


def nested(lengths, elements):
    """Lists within lists, one for each dimension."""
    if not lengths:
        return []
    if len(lengths) == 1:
        return [value(next(elements)) for _ in range(lengths[0])]
    return [nested(lengths[1:], elements) for _ in range(lengths[0])]


def within(convert, number):
    """PostgreSQL's dates reach further than Python's: beyond the year 9999 and before 1 there is the number."""
    try:
        return convert()
    except OverflowError:
        return number


def shown(columns):
    """As JSON, with texts of what JSON has no word for."""
    text = lambda other: other.hex() if isinstance(other, bytes) else str(other)
    return json.dumps(columns, ensure_ascii=False, default=text)


if __name__ == "__main__":
    main()
