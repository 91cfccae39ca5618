# /// program
# prints = "b'x' ['a.txt'] True"
# ///
import os
import tempfile

with tempfile.TemporaryFile() as file:
    file.write(b"x")
    file.seek(0)
    text = file.read()
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "a.txt"), "w") as file:
        file.write("1")
    names = os.listdir(folder)
with open("here.txt", "w") as file:
    file.write("1")
print(text, names, os.path.exists("here.txt"))
