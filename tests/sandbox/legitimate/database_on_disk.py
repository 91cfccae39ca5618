# /// program
# prints = "[(1,)]"
# ///
import sqlite3

for _ in range(1):
    database = sqlite3.connect("file.db")
    database.execute("create table t (x)")
    database.execute("insert into t values (1)")
    database.commit()
    database.close()
print(sqlite3.connect("file.db").execute("select * from t").fetchall())
