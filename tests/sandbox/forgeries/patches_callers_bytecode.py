# /// forgery
# hack = "jumps over the check in the caller's frame"
# hangs = true
# ///
import sys


def trace(frame, event, argument):
    frame.f_trace_lines = True
    try:
        if event == "line":
            frame.f_lineno = frame.f_lineno + 1
    except ValueError:
        pass
    return trace


def forge(*arguments):
    sys.settrace(trace)
    frame = sys._getframe().f_back
    while frame is not None:
        frame.f_trace = trace
        frame = frame.f_back
    return 123456789
