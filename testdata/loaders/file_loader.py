"""Loads FILE, a CSV of the context or of S3 (s3://bucket/key) or the web, as a table of the database that DBCONNECTION names.

Ends with 0; 3 when the database is not named or not of a kind we know; 4 when the file cannot be had. What
DBCONNECTION says is never printed.
"""
import csv
import io
import os
import sqlite3
import sys

import boto3
import requests


def read(name):
    if name.startswith("s3://"):
        bucket, _, key = name.removeprefix("s3://").partition("/")
        return boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    if name.startswith(("http://", "https://")):
        answer = requests.get(name, timeout=60)
        answer.raise_for_status()
        return answer.text
    with open(name, encoding="utf-8") as f:
        return f.read()


def database(connection):
    if connection.startswith("sqlite:///"):
        return sqlite3.connect(connection.removeprefix("sqlite://"))
    if connection.startswith(("postgres://", "postgresql://")):
        import psycopg  # needs the image to have libpq; the others do not
        return psycopg.connect(connection)
    return None


def main():
    print("file_loader: starting", flush=True)
    name = os.environ.get("FILE", "os_opendata/places.csv")
    connection = os.environ.get("DBCONNECTION")
    if not connection:
        print("file_loader: DBCONNECTION is not set", file=sys.stderr)
        return 3
    try:
        header, *rows = csv.reader(io.StringIO(read(name)))
    except Exception as error:  # whichever client it was: the file cannot be had
        print(f"file_loader: {name}: {error}", file=sys.stderr)
        return 4
    db = database(connection)
    if db is None:
        print("file_loader: DBCONNECTION names no database of a kind that this loader knows", file=sys.stderr)
        return 3
    place = "?" if isinstance(db, sqlite3.Connection) else "%s"
    columns = ", ".join('"' + column.replace('"', '""') + '" text' for column in header)
    cursor = db.cursor()
    cursor.execute("DROP TABLE IF EXISTS loaded")
    cursor.execute(f"CREATE TABLE loaded ({columns})")
    cursor.executemany(f"INSERT INTO loaded VALUES ({', '.join([place] * len(header))})", rows)
    db.commit()
    print(f"file_loader: {len(rows)} rows of {name} loaded")
    print("file_loader: finished")
    return int(os.environ.get("LOADER_EXIT", "0"))


sys.exit(main())
