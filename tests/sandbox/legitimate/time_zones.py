# /// program
# prints = "UTC+02:00"
# ///
import datetime

print(datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))).tzname())
