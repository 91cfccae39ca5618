# /// program
# prints = "[0, 1, 2, 3, 4]"
# ///
import threading

found = []
workers = [threading.Thread(target=found.append, args=(i,)) for i in range(5)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(sorted(found))
