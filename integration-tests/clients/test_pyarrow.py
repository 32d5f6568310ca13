"""pyarrow: a data set of partitioned Parquet that is written, read with a filter, grown and rewritten in part."""

import os

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import AwsStandardS3RetryStrategy, FileSelector, FileType, S3FileSystem

PARTITIONS = ds.partitioning(pa.schema([("year", pa.int32())]), flavor="hive")


@pytest.fixture
def files(cluster):
    return S3FileSystem(
        access_key=cluster.access_key,
        secret_key=cluster.secret_key,
        region="us-east-1",
        scheme="http",
        endpoint_override=cluster.endpoint.removeprefix("http://"),
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
    )


def rows(years, count=5_000):
    total = count * len(years)
    return pa.table(
        {
            "year": pa.array([year for year in years for _ in range(count)], pa.int32()),
            "number": pa.array(range(total), pa.int64()),
            "noise": pa.array([os.urandom(16) for _ in range(total)], pa.binary()),
        }
    )


def read(files, where, filter=None):
    table = ds.dataset(where, filesystem=files, format="parquet", partitioning=PARTITIONS).to_table(filter=filter)
    return table.select(["year", "number", "noise"]).sort_by([("year", "ascending"), ("number", "ascending")])


def test_a_data_set_that_grows(files, cluster, prefix):
    where = f"{cluster.bucket}/{prefix}data set"

    def write(table, name, existing):
        ds.write_dataset(
            table,
            where,
            filesystem=files,
            format="parquet",
            partitioning=PARTITIONS,
            basename_template=f"{name}-{{i}}.parquet",
            existing_data_behavior=existing,
        )

    first = rows([2021, 2022, 2023])
    write(first, "first", "error")
    assert read(files, where) == first
    assert read(files, where, ds.field("year") == 2022) == first.slice(5_000, 5_000)
    assert read(files, where, (ds.field("year") > 2021) & (ds.field("number") < 5_010)) == first.slice(5_000, 10)

    more = rows([2024])
    write(more, "more", "overwrite_or_ignore")
    assert read(files, where) == pa.concat_tables([first, more])
    with pytest.raises(pa.ArrowInvalid):
        write(more, "again", "error")

    instead = rows([2022], 100)
    write(instead, "instead", "delete_matching")
    assert read(files, where, ds.field("year") == 2022) == instead
    found = [info.path for info in files.get_file_info(FileSelector(where, recursive=True)) if info.is_file]
    names = ["2021/first-0", "2022/instead-0", "2023/first-0", "2024/more-0"]
    assert sorted(found) == [f"{where}/year={name}.parquet" for name in names]

    files.delete_dir(where)
    assert files.get_file_info(where).type == FileType.NotFound


def test_a_large_file_goes_in_parts(files, s3, cluster, prefix):
    for count in (900_000, 700_000):
        noise = pa.py_buffer(os.urandom(16 * count))
        columns = {
            "number": pa.array(range(count), pa.int64()),
            "noise": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, noise]),
        }
        table = pa.table(columns)
        where = f"{cluster.bucket}/{prefix}large.parquet"
        pq.write_table(table, where, filesystem=files, row_group_size=100_000)
        assert "-" in s3.head_object(Bucket=cluster.bucket, Key=f"{prefix}large.parquet")["ETag"]
        assert pq.read_table(where, filesystem=files) == table
        assert pq.read_table(where, filesystem=files, filters=[("number", "<", 10)], columns=["number"]).num_rows == 10
    files.move(where, f"{where}.moved")
    assert pq.read_metadata(f"{where}.moved", filesystem=files).num_rows == count
