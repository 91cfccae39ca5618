# /// forgery
# hack = "raises an exception in the main thread of its process"
# ///
import ctypes
import threading


def forge(*arguments):
    main = threading.main_thread().ident
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(SystemExit))
    return 123456789
