# /// program
# prints = "[1, 2, 3]"
# ///
import asyncio


async def f(x):
    await asyncio.sleep(0.001 * (3 - x))
    return x


async def main():
    print(await asyncio.gather(f(1), f(2), f(3)))


asyncio.run(main())
