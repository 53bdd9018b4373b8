"""A warehouse in SQLite: the base tables in one file of the host's, each managed schema in a file of its own beside it.

Theory of operation. A session attaches its schema's file to the host's database. So jobs of two organisations, and writers
of base tables, never wait for each other, and a transaction that reads the base and writes the schema writes one file,
which SQLite does whole or not at all, tables and views included. Both files are in WAL mode: a transaction that began to
read sees one state, whatever is written meanwhile. The first statement of a writing transaction takes the schema's write
lock; what is read after it can not change before the commit. Readers attach the file under the schema's name.

SQLite has no comments, but it keeps the text of each CREATE statement, with the comments in it: so the tag of an object is a
comment behind its name. What else the engine lacks is written in Python: hashes, and time zones. Decimals are floats here.
"""

from .warehouse import SQLiteWarehouse

__all__ = ["SQLiteWarehouse"]
