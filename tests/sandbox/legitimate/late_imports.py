# /// program
# prints = "True"
# ///
import csv
import email
import html
import http
import unittest
import uuid
import xml.etree.ElementTree
import zlib

print(uuid.uuid4().version == 4)
