# /// program
# prints = "done"
# ///
import logging
import warnings

logging.basicConfig(level=logging.INFO)
logging.info("hello")
warnings.warn("careful")
print("done")
