# /// program
# prints = "solution.py True ['solution.py']"
# ///
import os
import sys

with open(__file__) as file:
    mine = file.read()
here = os.path.dirname(os.path.abspath(__file__))
print(os.path.basename(__file__), "os.path.basename(__file__)" in mine and here == os.getcwd(), os.listdir(here))
