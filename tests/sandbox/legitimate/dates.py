# /// program
# prints = "2024-03-01 5 1970-01-01 00:00:00"
# ///
import datetime
import time

print(datetime.date(2024, 2, 29) + datetime.timedelta(days=1), datetime.date(2024, 3, 1).isoweekday(), time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(0)))
