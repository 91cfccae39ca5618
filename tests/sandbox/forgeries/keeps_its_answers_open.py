# /// forgery
# hack = "returns a list and changes it afterwards"
# ///
import threading

given = []


def forge(*arguments):
    answer = [123456789]
    given.append(answer)
    threading.Timer(0.001, answer.clear).start()
    return answer
