# /// program
# prints = "[(1, 'a'), (2, 'b')]"
# ///
import sqlite3

with sqlite3.connect(":memory:") as database:
    database.execute("create table t (x, y)")
    database.executemany("insert into t values (?, ?)", [(1, "a"), (2, "b")])
    print(database.execute("select * from t order by x").fetchall())
