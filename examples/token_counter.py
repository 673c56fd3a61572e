"""Two processes pass a token back and forth, and count how often."""

import asyncio
import multiprocessing

import aioprocq

ROUNDS = 1000


def return_the_token(there, back):
    for token in there.sync:
        back.sync.put(token + 1)


async def main():
    there, back = aioprocq.Queue(), aioprocq.Queue()
    player = multiprocessing.Process(target=return_the_token, args=(there, back))
    player.start()
    token = 0
    for _ in range(ROUNDS):
        await there.put(token + 1)
        token = await back.get()
    there.shutdown()  # ends the player's loop, and with it the player
    player.join()
    assert token == 2 * ROUNDS
    print(f"the token was passed {token} times")


if __name__ == "__main__":
    asyncio.run(main())
